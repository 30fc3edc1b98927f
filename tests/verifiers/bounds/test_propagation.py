"""How plans are run: order, batches, chunks, deadlines, and the orderings that theory promises."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.errors import InvalidInput, UnknownName, Unsupported
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import convolutional, dense, graph_for
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.bounds.plans import PLANS, Plan
from verifiers.bounds.relaxations.relu import ZERO
from verifiers.bounds.state import Bounds

BALLS = [
    Ball("linf", 0.05, 0.0, 1.0),
    Ball("l2", 0.3, 0.0, 1.0),
    Ball("l2", 0.3),
    Ball("l1", 1.0, 0.0, 1.0),
    Ball("l1", 1.0),
]


@cache
def case(seed: int = 0, batch: int = 5) -> tuple[object, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    graph = graph_for(convolutional(seed), (2, 6, 6))
    x = torch.rand(batch, 2, 6, 6, generator=generator)
    return graph, x, torch.randint(4, (batch,), generator=generator)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_batch_equals_single(plan: str, ball: Ball) -> None:
    graph, x, labels = case()
    together = margin_bounds(graph, x, labels, ball, plan)
    assert together.shape == (5, 4)
    assert together.dtype == torch.float64
    assert bool((together.gather(1, labels[:, None]) == torch.inf).all())
    for i in range(5):
        alone = margin_bounds(graph, x[i : i + 1], labels[i : i + 1], ball, plan)
        assert torch.allclose(together[i], alone[0], atol=1e-11)


@pytest.mark.parametrize("plan", [name for name in PLANS if name != "ibp"])
@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_never_below_intervals(plan: str, ball: Ball) -> None:
    for seed in range(3):
        graph, x, labels = case(seed)
        assert bool(
            (margin_bounds(graph, x, labels, ball, plan) >= margin_bounds(graph, x, labels, ball, "ibp") - 1e-11).all()
        )


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_box_only_helps(plan: str, norm: str) -> None:
    graph, x, labels = case(2)
    radius = {"linf": 0.05, "l2": 0.3, "l1": 1.0}[norm]
    cut, free = Ball(norm, radius, 0.0, 1.0), Ball(norm, radius)  # type: ignore[arg-type]
    if plan in ("ibp", "crown_ibp", "fastlin"):  # elsewhere a tighter layer may turn an adaptive line the wrong way
        assert bool(
            (margin_bounds(graph, x, labels, cut, plan) >= margin_bounds(graph, x, labels, free, plan) - 1e-9).all()
        )
    for tight, loose in zip(
        preactivation_bounds(graph, x, cut)[:1], preactivation_bounds(graph, x, free)[:1], strict=True
    ):
        assert bool((tight[0] >= loose[0] - 1e-11).all() & (tight[1] <= loose[1] + 1e-11).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_interval_bounds_fall_with_the_radius(norm: str) -> None:
    graph, x, labels = case(3)
    bounds = [margin_bounds(graph, x, labels, Ball(norm, r, 0.0, 1.0), "ibp") for r in (0.0, 0.01, 0.05, 0.2, 1.0)]  # type: ignore[arg-type]
    for smaller, larger in itertools.pairwise(bounds):
        assert bool((larger <= smaller + 1e-11).all())


@pytest.mark.parametrize("plan", ["crown", "fastlin", "deeppoly"])
def test_chunks_do_not_change_the_bounds(plan: str) -> None:
    graph, x, labels = case(1)
    ball = Ball("linf", 0.1, 0.0, 1.0)
    whole = margin_bounds(graph, x, labels, ball, plan)
    pieces = margin_bounds(graph, x, labels, ball, replace(PLANS[plan], chunk_bytes=1 << 16))
    assert torch.allclose(whole, pieces, atol=1e-11)


def test_rows_improve_hidden_layers() -> None:
    graph = graph_for(dense([4, 30, 30, 30, 3], seed=0, scale=1.5), (4,))
    x = torch.rand(2, 4)
    crown, interval = (preactivation_bounds(graph, x, Ball("linf", 0.1), plan) for plan in ("crown", "ibp"))
    assert torch.equal(crown[0][0], interval[0][0])  # the first layer is exact by intervals
    width = [float((up - low).mean()) for low, up in (crown[2], interval[2])]
    assert width[0] < 0.7 * width[1]


def test_zero_lines_are_never_looser_than_intervals_layer_by_layer() -> None:
    graph, x, _ = case(4)
    plan, ball = Plan(ZERO, intermediate=True), Ball("linf", 0.1, 0.0, 1.0)
    for tight, loose in zip(
        preactivation_bounds(graph, x, ball, plan), preactivation_bounds(graph, x, ball, "ibp"), strict=True
    ):
        assert bool((tight[0] >= loose[0] - 1e-11).all() & (tight[1] <= loose[1] + 1e-11).all())


def test_class_order_does_not_matter() -> None:
    module = dense([3, 8, 8, 4], seed=5)
    x, ball, order = torch.rand(3, 3), Ball("linf", 0.1), torch.tensor([2, 0, 3, 1])
    found = margin_bounds(graph_for(module, (3,)), x, torch.tensor([2, 2, 2]), ball)
    with torch.no_grad():
        module[-1].weight.copy_(module[-1].weight[order].clone())
        module[-1].bias.copy_(module[-1].bias[order].clone())
    moved = margin_bounds(graph_for(module, (3,)), x, torch.tensor([0, 0, 0]), ball)
    assert torch.allclose(found[:, order], moved, atol=1e-12)


def test_expired_deadline_carries_interval_bounds() -> None:
    graph, x, labels = case()
    ball = Ball("linf", 0.05, 0.0, 1.0)
    with pytest.raises(OutOfTime) as raised:
        margin_bounds(graph, x, labels, ball, "crown", Deadline.after(0.0))
    assert torch.allclose(raised.value.margins, margin_bounds(graph, x, labels, ball, "ibp"), atol=1e-11)
    with pytest.raises(OutOfTime):
        preactivation_bounds(graph, x, ball, "crown", Deadline.after(0.0))


def test_refusals() -> None:
    graph, x, labels = case()
    with pytest.raises(Unsupported, match="l0"):
        margin_bounds(graph, x, labels, Ball("l0", 2.0))
    with pytest.raises(UnknownName, match="crown"):
        margin_bounds(graph, x, labels, Ball("linf", 0.1), "crow")
    for wrong in (x[:, :1], x[0], torch.full_like(x, torch.nan), x + 2.0, x.long()):
        with pytest.raises(InvalidInput):
            margin_bounds(graph, wrong, labels, Ball("linf", 0.1, 0.0, 1.0))
    for bad in (labels - 4, labels + 4, labels[:2]):
        with pytest.raises(InvalidInput, match="labels"):
            margin_bounds(graph, x, bad, Ball("linf", 0.1))


def test_inputs_are_left_alone_and_no_gradient_is_kept() -> None:
    graph, x, labels = case()
    x, before = x.clone(), x.clone()
    found = margin_bounds(graph, x.requires_grad_(), labels, Ball("linf", 0.1))
    assert torch.equal(x, before)
    assert not found.requires_grad
    again = margin_bounds(graph, x, labels, Ball("linf", 0.1))
    assert torch.equal(found, again)


def test_max_pooling_asks_for_rows_only_where_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are exact up to the first pooling; later, a window's entry that others dominate needs no rows."""
    asked: dict[int, int] = {}

    def count(bounds: Bounds, index: int, wanted: torch.Tensor, *rest: object) -> bool:
        asked[index] = int(wanted.sum())
        return True

    monkeypatch.setattr("verifiers.bounds.propagation._refine", count)
    torch.manual_seed(0)
    pooled = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2)]
    ball, x, labels = Ball("linf", 0.003), torch.rand(1, 1, 8, 8), torch.tensor([0])
    shallow = graph_for(nn.Sequential(*pooled, nn.Flatten(), nn.Linear(27, 3)), (1, 8, 8))
    margin_bounds(shallow, x, labels, ball)
    assert asked == {}
    deep = graph_for(
        nn.Sequential(*pooled, nn.Conv2d(3, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3)), (1, 8, 8)
    )
    margin_bounds(deep, x, labels, ball)
    convolutions = [i for i, node in enumerate(deep.nodes) if node.op.name == "conv2d"]
    assert asked
    assert min(asked) > convolutions[-1]
    assert sum(asked.values()) < sum(math.prod(deep.nodes[i].shape) for i in asked)
