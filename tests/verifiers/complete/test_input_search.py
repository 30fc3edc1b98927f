"""Splitting the input: bounds of many boxes at once, coverage, both kinds of bounds."""

from __future__ import annotations

import pytest
import torch

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense, graph_for
from verifiers.bounds import margin_bounds
from verifiers.bounds.inputs import Box
from verifiers.bounds.optimized_boxes import BoxBounds
from verifiers.bounds.optimized_margins import margin_rows, relaxed_input
from verifiers.complete.input_search import box_bounder, engine_bounder, search_boxes


def parts(count: int, seed: int):
    """Boxes inside [-1/2, 1/2]^3."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, count, 3, generator=generator, dtype=torch.float64) - 0.5
    return corners.amin(dim=0), corners.amax(dim=0)


@pytest.mark.parametrize("seed", range(4))
def test_many_boxes_at_once(seed):
    """Sound by sampling, and as good as the engine's CROWN, box by box, but for its looser start."""
    graph = graph_for(dense([3, 8, 8, 3], seed), (3,))
    root = relaxed_input(graph, torch.zeros(3), Ball("linf", 0.5), Deadline())
    lower, upper = parts(7, seed)
    start = margin_rows(graph, 0, torch.tensor([1, 2]))
    found, rows = BoxBounds(root).lower(start, lower, upper)
    assert rows.shape == (7, 2, 3)
    engine = margin_bounds(graph, (lower + upper) / 2, torch.zeros(7, dtype=torch.long),
                           Box((lower + upper) / 2, (upper - lower) / 2))[:, 1:]  # fmt: skip
    assert (found - engine).abs().mean() < 0.05
    share = torch.rand(7, 400, 3, dtype=torch.float64)
    points = lower[:, None] + share * (upper - lower)[:, None]
    logits = graph.forward(points.reshape(-1, 3)).reshape(7, 400, 3)
    least = (logits[..., :1] - logits[..., 1:]).amin(dim=1)
    assert (least >= found).all()


@pytest.mark.parametrize("kind", ["boxes", "engine"])
def test_both_bounds_decide(kind):
    graph = graph_for(dense([3, 8, 8, 3], 2), (3,))
    root = relaxed_input(graph, torch.zeros(3), Ball("linf", 0.5), Deadline())
    label = int(graph.forward(torch.zeros(1, 3, dtype=torch.float64)).argmax())
    others = torch.tensor([other for other in range(3) if other != label])
    bounder = (box_bounder(root, margin_rows(graph, label, others)) if kind == "boxes"
               else engine_bounder(graph, label, Deadline()))  # fmt: skip
    half = torch.full((3,), 0.004, dtype=torch.float64)
    found = search_boxes(-half, half, bounder, lambda _: None, 8, Deadline.after(20.0))
    assert found.left == 0
    assert found.bound > 0


def test_every_point_of_the_input_lies_in_a_box_that_was_bounded():
    """With bounds that close boxes at random, what was closed covers the whole."""
    generator = torch.Generator().manual_seed(0)
    closed = []

    def bounder(lower, upper):
        bound = torch.where(torch.rand(len(lower), generator=generator) < 0.6, 1.0, -1.0).double()
        bound = torch.where((upper - lower).amax(dim=1) < 0.1, 1.0, bound)
        closed.extend(zip(lower[bound > 0], upper[bound > 0], strict=True))
        return bound, torch.rand(lower.shape, generator=generator, dtype=torch.float64)

    low, high = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    found = search_boxes(low, high, bounder, lambda _: None, 4, Deadline())
    assert found.left == 0
    points = torch.rand(2000, 2, dtype=torch.float64)
    inside = [((points >= low) & (points <= up)).all(dim=1) for low, up in closed]
    assert torch.stack(inside).any(dim=0).all()


def test_other_activations():
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    network, x = load_network(module, (2,)), torch.tensor([0.4, 0.6])
    label = int(network(x[None]).argmax())
    verdicts = {float(radius): sokbench.method("reluval").verify(
        Problem(network, x, label, Ball("linf", float(radius))), 5.0).verdict for radius in (0.01, 5.0)}  # fmt: skip
    assert verdicts[0.01] is Verdict.VERIFIED
    assert verdicts[5.0] is not Verdict.VERIFIED or label == int(network(x[None] + 5.0).argmax())
