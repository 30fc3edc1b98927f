"""Many boxes at once: sound in real arithmetic, as tight as the ordinary engine, bounds of parents kept."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import Skip, convolutional, dense, exact_logits, exact_minimum, graph_for, hostile
from verifiers.bounds import margin_bounds
from verifiers.bounds.optimized import many_boxes
from verifiers.bounds.optimized.many_boxes import ManyBoxes, takes
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.bounds.relaxations.relu import ADAPTIVE, PARALLEL
from verifiers.bounds.sets.inputs import Box, Interval


def parts(count: int, inputs: int, radius: float, seed: int):
    """Boxes inside [-radius, radius]^inputs."""
    generator = torch.Generator().manual_seed(seed)
    corners = radius * (2 * torch.rand(2, count, inputs, generator=generator, dtype=torch.float64) - 1)
    return corners.amin(dim=0), corners.amax(dim=0)


def bounds_of(module, lower, upper, radius, label=0, relaxation=ADAPTIVE, shape=None):
    """(BoxResult on boxes (D, *shape), graph, (D, K) margins of the ordinary engine)."""
    shape = shape or tuple(lower.shape[1:])
    graph = graph_for(module, shape)
    root = relaxed_input(graph, torch.zeros(shape), Ball("linf", radius), Deadline())
    others = torch.tensor([j for j in range(graph.num_classes) if j != label])
    start, count = margin_rows(graph, label, others), len(lower)
    many = ManyBoxes(graph, root.exact.inputs.interval(), root.bounds, start, relaxation)
    hidden = {i: Interval(*(side.repeat(count, *[1] * (side.dim() - 1)) for side in b)) for i, b in root.bounds.items()}
    known = torch.full((count, len(others)), -torch.inf, dtype=torch.float64)
    found = many.bound(lower, upper, hidden, known, Deadline())
    centre = (lower + upper) / 2
    box = Box(centre, (upper - lower) / 2)
    engine = margin_bounds(graph, centre, torch.full((count,), label), box, "crown")[:, others]
    return found, graph, engine


def sampled(graph, lower, upper, label=0, count=500):
    """(D, N, nodes' values) at random points and corners of each box."""
    share = torch.rand(len(lower), count, *lower.shape[1:], dtype=torch.float64)
    share[:, ::3] = share[:, ::3].round()
    points = lower[:, None] + share * (upper - lower)[:, None]
    return [value.reshape(len(lower), count, *value.shape[1:]) for value in graph.values(points.flatten(0, 1))]


MODULES = {
    "dense": lambda seed: dense([3, 8, 8, 3], seed),
    "deep": lambda seed: dense([3, 12, 12, 12, 12, 3], seed),
    "residual": lambda seed: nn.Sequential(
        nn.Linear(3, 6, dtype=torch.float64),
        nn.ReLU(),
        Skip(dense([6, 6, 6], seed)),
        nn.ReLU(),
        nn.Linear(6, 3, dtype=torch.float64),
    ),
}


@pytest.mark.parametrize("relaxation", [ADAPTIVE, PARALLEL], ids=lambda r: r.name)
@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("seed", range(3))
def test_bounds_and_hidden_bounds_hold(kind, seed, relaxation):
    torch.manual_seed(seed)
    lower, upper = parts(9, 3, 0.7, seed)
    found, graph, _ = bounds_of(MODULES[kind](seed), lower, upper, 0.7, relaxation=relaxation)
    values = sampled(graph, lower, upper)
    logits = values[-1]
    assert ((logits[..., :1] - logits[..., 1:]).amin(dim=1) >= found.bounds).all()
    for relu, (low, up) in found.hidden.items():
        z = values[graph.nodes[relu].inputs[0]]
        assert (z.amin(dim=1) >= low).all()
        assert (z.amax(dim=1) <= up).all()
    assert (found.points >= lower).all()
    assert (found.points <= upper).all()
    assert (found.influence >= 0).all()


def test_convolutions():
    radius = 0.02
    centre = torch.rand(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.02 - 0.01
    lower, upper = centre - 0.005, centre + 0.005
    found, graph, engine = bounds_of(convolutional(1), lower, upper, radius, shape=(2, 6, 6))
    logits = sampled(graph, lower, upper)[-1]
    assert ((logits[..., :1] - logits[..., 1:]).amin(dim=1) >= found.bounds).all()
    assert (found.bounds >= engine - 0.02 * engine.abs()).all()


@pytest.mark.parametrize("seed", range(4))
def test_as_tight_as_the_engine(seed, monkeypatch):
    """CROWN's lines in both, box by box. The engine also takes interval bounds; here the root's bounds are kept."""
    lower, upper = parts(20, 3, 0.5, seed)
    raised, _, _ = bounds_of(MODULES["deep"](seed), lower, upper, 0.5)
    monkeypatch.setattr(many_boxes, "_STEPS", 0)
    plain, _, engine = bounds_of(MODULES["deep"](seed), lower, upper, 0.5)
    assert (plain.bounds >= engine - 0.1 * engine.abs() - 0.05).all()
    assert (plain.bounds - engine).mean() > -0.01
    assert (raised.bounds >= plain.bounds).all()
    open_ = plain.bounds <= 0
    assert (raised.bounds - plain.bounds)[open_].mean() > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_below_the_exact_minimum_and_near_it(seed):
    module = dense([2, 5, 2], seed)
    lower, upper = parts(5, 2, 1.0, seed)
    found, _, _ = bounds_of(module, lower, upper, 1.0)
    for box in range(5):
        # the largest square inside the box has a minimum that is not below the box's
        centre, radius = (lower[box] + upper[box]) / 2, float((upper[box] - lower[box]).min() / 2)
        exact = exact_minimum(module, centre.numpy(), radius, np.array([1.0, -1.0]))
        assert found.bounds[box, 0] <= exact + 1e-9
    tiny = torch.full((1, 2), 0.3, dtype=torch.float64)
    found, graph, _ = bounds_of(module, tiny - 1e-9, tiny + 1e-9, 1.0)
    logits = graph.forward(tiny)
    assert found.bounds[0, 0] == pytest.approx(float(logits[0, 0] - logits[0, 1]), abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_no_margin_in_rational_arithmetic_is_below_a_bound(seed):
    """Weights over 30 orders of magnitude: floats cancel, bounds must not. The boxes are points and thin boxes."""
    module, x = hostile(seed)
    graph = graph_for(module, (2,))
    root = relaxed_input(graph, x[0], Ball("linf", 0.25), Deadline())
    if root is None:
        pytest.skip("the bounds of the whole overflow")
    start = margin_rows(graph, 0, torch.tensor([1]))
    many = ManyBoxes(graph, root.exact.inputs.interval(), root.bounds, start)
    generator = torch.Generator().manual_seed(seed)
    centre = x + 0.2 * (2 * torch.rand(6, 2, generator=generator, dtype=torch.float64) - 1)
    width = torch.tensor([0.0, 0.0, 0.0, 1e-9, 1e-3, 0.04], dtype=torch.float64)[:, None]
    lower, upper = centre - width, centre + width
    hidden = {i: Interval(*(side.repeat(6, 1) for side in sides)) for i, sides in root.bounds.items()}
    known = torch.full((6, 1), -torch.inf, dtype=torch.float64)
    found = many.bound(lower, upper, hidden, known, Deadline())
    for box in range(6):
        for corner in itertools.product((0, 1), repeat=2):
            point = torch.where(torch.tensor(corner) == 1, upper[box], lower[box])
            logits = exact_logits(module, point)
            assert found.bounds[box, 0] == -torch.inf or Fraction(float(found.bounds[box, 0])) <= logits[0] - logits[1]


def test_a_sum_that_floats_lose():
    """f_0 - f_1 = (2^53 + 3 x) - 2^53 - 7/4 < 0 for x <= 1/2, but floats round 2^53 + 3 x up to 2^53 + 2."""
    big = 2.0**53
    layers = [nn.Linear(1, 2, dtype=torch.float64), nn.ReLU(), nn.Linear(2, 2, dtype=torch.float64), nn.ReLU(),
              nn.Linear(2, 2, dtype=torch.float64)]  # fmt: skip
    values = [
        ([[1.0], [0.0]], [0.0, 1.0]),
        ([[3.0, big], [0.0, big]], [0.0, 0.0]),
        ([[1.0, -1.0], [0.0, 0.0]], [0, 1.75]),
    ]
    for layer, (weight, bias) in zip(layers[::2], values, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight).double(), torch.tensor(bias).double()
    lower = torch.tensor([[0.4], [0.45], [0.5]], dtype=torch.float64)
    found, _, _ = bounds_of(nn.Sequential(*layers), lower, lower, 0.5)
    assert (found.bounds[:, 0] <= 3 * lower[:, 0] - 1.75).all()


def test_proved_margins_and_known_bounds_are_kept():
    module = dense([3, 8, 8, 3], 1)
    lower, upper = parts(4, 3, 0.5, 1)
    found, graph, _ = bounds_of(module, lower, upper, 0.5)
    start = margin_rows(graph, 0, torch.tensor([1, 2]))
    hull = Interval(torch.full((1, 3), -0.5).double(), torch.full((1, 3), 0.5).double())
    root = relaxed_input(graph, torch.zeros(3), Ball("linf", 0.5), Deadline())
    many = ManyBoxes(graph, hull, root.bounds, start)
    known = torch.tensor([[7.0, -torch.inf]], dtype=torch.float64).repeat(4, 1)
    again = many.bound(lower, upper, found.hidden, known, Deadline())
    assert (again.bounds[:, 0] == 7.0).all()
    for relu, (low, up) in again.hidden.items():
        assert (low >= found.hidden[relu].lower).all()
        assert (up <= found.hidden[relu].upper).all()
    with pytest.raises(OutOfTime):
        many.bound(lower, upper, found.hidden, known, Deadline.after(0.0))


def test_which_networks_it_takes():
    assert takes(graph_for(dense([3, 4, 2], 0), (3,)))
    tanh = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    assert not takes(graph_for(tanh, (2,)))
