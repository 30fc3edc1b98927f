"""Perturbed weights: the rewritten graph computes the network, and its bounds hold for all weights of the set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.problem import Ball
from verifiers.bounds import margin_bounds
from verifiers.bounds.sets.inputs import Box, LpBall
from verifiers.bounds.sets.weights import Product, perturb_weights
from verifiers.graph import trace
from verifiers.graph.graph import Graph
from verifiers.graph.rewriting.simplify import simplify

BOTH = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)


def lower_margins(graph: Graph, inputs: Product, labels: list[int], plan: str) -> Tensor:
    found = margin_bounds(simplify(graph), inputs.interval().lower, torch.tensor(labels), inputs, plan)
    return found[found.isfinite()].reshape(len(labels), -1)


def joined(x: Tensor, *tensors: Tensor) -> Tensor:
    return torch.cat([x.flatten(1), *(tensor.detach().flatten().expand(len(x), -1) for tensor in tensors)], dim=1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 2, dilation=1), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3),
    ).double()  # fmt: skip


def test_the_rewritten_graph_is_the_network() -> None:
    module, x = network(), torch.rand(2, 2, 4, 4, dtype=torch.float64)
    balls = {name: Ball("linf", 0.1) for name in ("0", "2", "5.linear")}
    graph, inputs = perturb_weights(trace(module, (2, 4, 4)), Box(x, 0.0), balls, {"2": Ball("l2", 0.1)})
    at = joined(x, module[0].weight, module[2].weight, module[5].weight, module[2].bias)
    assert torch.allclose(graph.forward(at), module(x), atol=1e-12)
    assert bool((inputs.interval().lower <= at).all())
    assert bool((inputs.interval().upper >= at).all())
    moved = torch.randn_like(at)
    for layer, start in ((module[0], 32), (module[2], 86), (module[5], 110)):
        layer.weight.data = moved[0, start : start + layer.weight.numel()].reshape(layer.weight.shape)
    module[2].bias.data = moved[0, 118:]
    assert torch.allclose(graph.forward(moved)[0], module(moved[:1, :32].reshape(1, 2, 4, 4))[0], atol=1e-12)


@pytest.mark.parametrize(("norm", "q"), [("linf", 1.0), ("l2", 2.0), ("l1", torch.inf)])
def test_one_layer_with_a_known_input_is_exact(norm: str, q: float) -> None:
    """(w_y - w_j) x + b over a ball of weights: its centre less radius times the dual norm of (x, -x)."""
    torch.manual_seed(1)
    module, x, radius = nn.Linear(5, 3).double(), torch.rand(2, 5, dtype=torch.float64), 0.3
    graph, inputs = perturb_weights(
        trace(nn.Sequential(module), (5,)),
        Box(x, 0.0),
        {"0.linear": Ball(norm, radius)},  # type: ignore[arg-type]
    )
    found = lower_margins(graph, inputs, [0, 2], "crown")
    logits = module(x).detach()
    for i, label in enumerate((0, 2)):
        reach = radius * torch.cat([x[i], -x[i]]).norm(p=q)
        others = [j for j in range(3) if j != label]
        expected = torch.stack([logits[i, label] - logits[i, j] - reach for j in others])
        assert torch.allclose(found[i], expected, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_margins_hold_for_all_weights(norm: str) -> None:
    module, x = network(), torch.rand(2, 2, 4, 4, dtype=torch.float64)
    radius, names = 0.02, {"0": 0, "5": 5}
    balls = {name: Ball(norm, radius) for name in names}  # type: ignore[arg-type]
    graph, inputs = perturb_weights(trace(module, (2, 4, 4)), Box(x, 0.01), balls)
    labels = module(x).argmax(dim=1).tolist()
    found = {plan: lower_margins(graph, inputs, labels, plan) for plan in ("ibp", "crown_ibp", "crown")}
    assert bool((found["crown"] >= found["ibp"]).all())
    truth = torch.full_like(found["ibp"], torch.inf)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        at = [x + 0.01 * torch.randn(x.shape, generator=generator, dtype=torch.float64).sign()]
        for index in names.values():
            noise = torch.randn(module[index].weight.shape, generator=generator, dtype=torch.float64)
            noise = noise.sign() if norm == "linf" else noise / noise.norm()
            at.append((module[index].weight.detach() + radius * (1 - 1e-12) * noise).expand(2, *noise.shape))
        logits = graph.forward(torch.cat([part.flatten(1) for part in at], dim=1))
        for i, label in enumerate(labels):
            others = [j for j in range(3) if j != label]
            truth[i] = torch.minimum(truth[i], logits[i, label] - logits[i, others])
    for bounds in found.values():
        assert bool((bounds <= truth).all())
    assert bool((found["crown"] >= truth - 0.3).all())


def test_products_of_sets_are_as_exact_as_their_parts() -> None:
    x, y = torch.rand(2, 3, dtype=torch.float64), torch.rand(2, 2, 2, dtype=torch.float64)
    parts = (Box(x, 0.1), LpBall(y, torch.tensor([0.2, 0.3], dtype=torch.float64), 2.0))
    both, rows = Product(parts), torch.randn(2, 2, 4, 7, dtype=torch.float64)
    expected = parts[0].concretize(rows[..., :3], BOTH, slice(0, 2))
    expected = expected + parts[1].concretize(rows[..., 3:].reshape(2, 2, 4, 2, 2), BOTH, slice(0, 2))
    assert torch.allclose(both.concretize(rows, BOTH, slice(0, 2)), expected, atol=1e-12)
    assert both.interval().lower.shape == (2, 7)
    assert not both.is_box
    assert Product([parts[0], Box(y, 0.0)]).is_box


def test_layers_that_share_a_weight_share_its_perturbation() -> None:
    """f = W W x with W a number: 1 and its square over [0.9, 1.1], not a product of two intervals."""
    layer = nn.Linear(1, 1, bias=False).double()
    layer.weight.data.fill_(1.0)
    graph, inputs = perturb_weights(
        trace(nn.Sequential(layer, layer), (1,)), Box(torch.ones(1, 1).double(), 0.0), {"0": Ball("linf", 0.1)}
    )
    assert graph.input_shape == (2,)
    assert inputs.interval().upper[0].tolist() == pytest.approx([1.0, 1.1])
    at = torch.tensor([[3.0, 0.5]], dtype=torch.float64)
    assert graph.forward(at).item() == pytest.approx(0.75)


def test_what_is_refused() -> None:
    module, x = network(), torch.rand(1, 2, 4, 4, dtype=torch.float64)
    with pytest.raises(InvalidInput, match=r"'conv9' has no weight; the layers are 0.conv2d"):
        perturb_weights(trace(module, (2, 4, 4)), Box(x, 0.0), {"conv9": Ball("linf", 0.1)})
    without = trace(nn.Sequential(nn.Linear(3, 2, bias=False)), (3,))
    with pytest.raises(InvalidInput, match="has no bias"):
        perturb_weights(without, Box(torch.zeros(1, 3), 0.0), {}, {"0.linear": Ball("linf", 0.1)})
    grouped = trace(nn.Sequential(nn.Conv2d(2, 2, 2, groups=2)), (2, 4, 4))
    with pytest.raises(Unsupported, match="groups"):
        perturb_weights(grouped, Box(x.float(), 0.0), {"0.conv2d": Ball("linf", 0.1)})
