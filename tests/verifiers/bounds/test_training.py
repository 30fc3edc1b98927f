"""Margins for training: the published ones up to rounding, with gradients that finite differences confirm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sokbench.core.errors import Unsupported
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import dense, graph_for
from verifiers.bounds import margin_bounds
from verifiers.bounds.sets.inputs import Box, LpBall
from verifiers.bounds.training import crown_ibp_margins, ibp_margins, training_margins
from verifiers.graph import trace


def small_cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def test_equal_published_margins() -> None:
    module = small_cnn().double()
    x, labels = torch.rand(6, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    live, fixed, ball = trace(module, (1, 6, 6)), graph_for(module, (1, 6, 6)), Ball("linf", 0.05, 0.0, 1.0)
    interval, linear = crown_ibp_margins(live, x, labels, 0.05, 0.0, 1.0)
    assert torch.equal(interval, ibp_margins(live, x, labels, 0.05, 0.0, 1.0))
    published = margin_bounds(fixed, x, labels, ball, "ibp")
    assert bool((interval.gather(1, labels[:, None]) == 0).all())
    others = published.isfinite()
    assert torch.allclose(interval[others], published[others], atol=1e-12)
    best = margin_bounds(fixed, x, labels, ball, "crown_ibp")
    assert torch.allclose(torch.maximum(interval, linear)[others], best[others], atol=1e-12)
    assert not torch.allclose(interval, linear, atol=1e-3)


def test_gradients() -> None:
    module = dense([3, 5, 4, 3], seed=1)
    graph, x, labels = trace(module, (3,)), torch.rand(2, 3, dtype=torch.float64), torch.tensor([0, 2])
    weight = module[2].weight

    def loss() -> torch.Tensor:
        interval, linear = crown_ibp_margins(graph, x, labels, 0.1)
        return (interval + 2 * linear).sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    for index in ((0, 0), (1, 3), (3, 4)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(float(loss()))
                weight[index] -= step
        assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-5)
    assert float(gradient.abs().sum()) > 0


SETS = {
    "box": lambda x: Box(x, 0.1, 0.0, 1.0),
    "radius per input": lambda x: Box(x, torch.tensor([0.05, 0.2], dtype=x.dtype)),
    "l2": lambda x: LpBall(x, 0.2, 2.0),
    "l2 in the box": lambda x: LpBall(x, 0.2, 2.0, 0.0, 1.0),
    "l1": lambda x: LpBall(x, 0.3, torch.inf),
}


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("plan", ["ibp", "crown_ibp", "crown", "fastlin"])
def test_gradients_of_any_plan_and_set(plan: str, kind: str) -> None:
    """In the weights, through intermediate bounds too, and in the input, against finite differences."""
    module = dense([3, 6, 5, 4, 3], seed=4)
    graph, labels = trace(module, (3,)), torch.tensor([0, 2])
    generator = torch.Generator().manual_seed(1)
    x = (0.3 + 0.4 * torch.rand(2, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    weight = module[2].weight

    def loss() -> torch.Tensor:
        return training_margins(graph, SETS[kind](x), labels, plan).square().sum()

    gradients = torch.autograd.grad(loss(), [weight, x])
    for tensor, gradient in zip((weight, x), gradients, strict=True):
        for index in ((0, 0), (1, 2)):
            values = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    tensor[index] += step
                    values.append(float(loss()))
                    tensor[index] -= step
            assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-4)


def test_gradients_through_windows() -> None:
    """Convolutions whose rows stay on windows, and dense layers whose inactive neurons are left out."""
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(98, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3),
    ).double()  # fmt: skip
    graph, x, labels = trace(module, (1, 7, 7)), torch.rand(2, 1, 7, 7, dtype=torch.float64), torch.tensor([1, 2])
    for weight, index in (
        (module[0].weight, (0, 0, 1, 2)),
        (module[2].weight, (1, 0, 2, 2)),
        (module[7].weight, (1, 3)),
    ):

        def loss() -> torch.Tensor:
            return training_margins(graph, Box(x, 0.03, 0.0, 1.0), labels, "crown").sum()

        (gradient,) = torch.autograd.grad(loss(), weight)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(float(loss()))
                weight[index] -= step
        assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-5)


def test_equal_published_margins_of_any_plan() -> None:
    module = small_cnn().double()
    x, labels = torch.rand(3, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2])
    live, fixed = trace(module, (1, 6, 6)), graph_for(module, (1, 6, 6))
    for plan in ("crown", "fastlin", "deeppoly"):
        published = margin_bounds(fixed, x, labels, Ball("l2", 0.1), plan)
        found = training_margins(live, LpBall(x, 0.1, 2.0), labels, plan)
        assert torch.allclose(found[published.isfinite()], published[published.isfinite()], atol=1e-12)


def test_plans_that_go_forward_are_refused() -> None:
    graph, x = trace(small_cnn(), (1, 6, 6)), torch.rand(1, 1, 6, 6)
    with pytest.raises(Unsupported, match="back-substitution"):
        training_margins(graph, Box(x, 0.1), torch.tensor([0]), "deepz")


def test_a_few_steps_raise_the_certified_margin() -> None:
    module = small_cnn()
    graph = trace(module, (1, 6, 6))
    x, labels = torch.rand(12, 1, 6, 6), torch.arange(12) % 3
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        interval, linear = crown_ibp_margins(graph, x, labels, 0.02, 0.0, 1.0)
        loss = nn.functional.cross_entropy(-(0.5 * interval + 0.5 * linear), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_radius_per_input() -> None:
    graph, x, labels = trace(small_cnn(), (1, 6, 6)), torch.rand(2, 1, 6, 6), torch.tensor([0, 1])
    radii = torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1)
    mixed = ibp_margins(graph, x, labels, radii)
    assert torch.allclose(mixed[0], ibp_margins(graph, x, labels, 0.0)[0], atol=1e-6)
    assert torch.allclose(mixed[1], ibp_margins(graph, x, labels, 0.1)[1], atol=1e-6)
