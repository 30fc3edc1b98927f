"""Properties as classification problems: margins are distances from the unsafe sets, the ball covers the box."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sokbench
from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.evaluation import logits64
from sokbench.core.property import Case, Conjunction, Property
from verifiers.graph import graph_of
from verifiers.graph.rewriting.reduction import Reduced, has_maxima, reduce_property, softened


def network(inputs: int = 3, outputs: int = 4, seed: int = 0) -> sokbench.Network:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, outputs))
    return sokbench.load_network(module, input_shape=(inputs,))


def conjunction(*rows: tuple[list[float], float]) -> Conjunction:
    return Conjunction(np.array([weight for weight, _ in rows]), np.array([bound for _, bound in rows]))


def case(lower: list[float], upper: list[float], *unsafe: Conjunction) -> Case:
    return Case(np.array(lower), np.array(upper), unsafe)


ROW = ([1.0, -1.0, 0.0, 0.0], 0.1)
BOX = ([0.0, -0.5, 0.3], [1.0, 0.25, 0.3])

numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, st.floats(0, 1e6)), min_size=1, max_size=4))
def test_the_ball_covers_the_box_in_real_arithmetic(sides: list[tuple[float, float]]):
    lower, upper = np.array([low for low, _ in sides]), np.array([low + width for low, width in sides])
    net = network(len(sides))
    (reduced,) = reduce_property(net, Property(len(sides), 4, (Case(lower, upper, (conjunction(ROW),)),)))
    for low, high, centre, radius in zip(lower, upper, reduced.centre.tolist(), reduced.radius.tolist(), strict=True):
        assert Fraction(centre) - Fraction(radius) <= Fraction(low)
        assert Fraction(centre) + Fraction(radius) >= Fraction(high)
        assert radius <= (high - low) / 2 * (1 + 1e-9) + abs(centre) * 1e-15 + 1e-300
    assert reduced.problem.ball.radius == 1.0
    corner = reduced.original(torch.ones(len(sides)))
    assert np.array_equal(corner, upper)


@st.composite
def questions(draw) -> tuple[Property, int]:
    outputs = 4
    factors = st.sampled_from([0.0, 1.0, -1.0, 0.5])
    unsafe = []
    for rows in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        weight = np.array(draw(st.lists(factors, min_size=rows * outputs, max_size=rows * outputs)))
        bound = np.array(draw(st.lists(st.floats(-2, 2), min_size=rows, max_size=rows)))
        unsafe.append(Conjunction(weight.reshape(rows, outputs), bound))
    return Property(3, outputs, (case(*BOX, *unsafe),)), draw(st.integers(0, 3))


def least_margin(reduced: Reduced, z: torch.Tensor) -> float:
    logits = logits64(reduced.problem.network, z[None])[0]
    return float(logits[0] - logits[1:].max())


@settings(max_examples=40)
@given(questions(), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_the_least_margin_is_the_distance_from_the_unsafe_sets(question: tuple[Property, int], at: list[float]):
    asked, seed = question
    net, z = network(seed=seed), torch.tensor(at, dtype=torch.float64)
    problems = reduce_property(net, asked)
    assert len(problems) == len({len(c.bound) for c in asked.cases[0].unsafe})
    x = problems[0].original(z)
    y = logits64(net, torch.tensor(x)[None])[0].numpy()
    found = min(least_margin(reduced, z) for reduced in problems)
    assert found == pytest.approx(asked.violation(x, y), abs=1e-9)


def test_a_network_runs_in_float32_and_its_graph_is_exact():
    net = network()
    (reduced,) = reduce_property(net, Property(3, 4, (case(*BOX, conjunction(ROW)),)))
    assert reduced.problem.network(torch.zeros(2, 3)).dtype == torch.float32
    graph = graph_of(reduced.problem.network)
    assert graph.nodes[-1].op.offset is not None
    assert graph.nodes[-1].op.offset.tolist() == [0.0, 0.1]  # 0.1 as float64, not as float32


def test_boxes_and_row_counts_make_problems_of_their_own():
    one, two = conjunction(ROW), conjunction(ROW, ([0.0, 0.0, 1.0, 0.0], 3.0))
    asked = Property(3, 4, (case(*BOX, one, two, one), case([0.0] * 3, [1.0] * 3, two)))
    problems = reduce_property(network(), asked)
    assert [(reduced.case.upper[2], len(reduced.case.unsafe)) for reduced in problems] == [(0.3, 2), (0.3, 1), (1.0, 1)]
    assert [reduced.problem.network.num_classes for reduced in problems] == [3, 2, 2]
    assert len({reduced.problem.network.sha256 for reduced in problems}) == 3


def test_images_keep_their_shape():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    net = sokbench.load_network(module, input_shape=(1, 4, 4))
    asked = Property(16, 2, (Case(np.zeros(16), np.arange(16) / 16, (conjunction(([1.0, -1.0], 0.0)),)),))
    (reduced,) = reduce_property(net, asked)
    assert reduced.problem.x.shape == (1, 4, 4)
    crown = sokbench.method("crown").verify(reduced.problem)
    z = torch.rand(200, 1, 4, 4, dtype=torch.float64) * 2 - 1
    attained = min(least_margin(reduced, point) for point in z)
    assert crown.margin is not None
    assert crown.margin <= attained


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="5 inputs and 4 outputs, but Sequential has 3 and 4"):
        reduce_property(network(), Property(5, 4, (case([0.0] * 5, [1.0] * 5, conjunction(ROW)),)))
    with pytest.raises(Unsupported, match="no float32 number"):
        reduce_property(network(), Property(3, 4, (case(*BOX, conjunction(([0.1, 0, 0, 0], 0.0))),)))


@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0])
def test_soft_maxima_are_sums_of_exponentials(temperature: float):
    rows = [ROW, ([0.0, 1.0, -1.0, 0.0], -0.2), ([0.5, 0.0, 0.0, 1.0], 0.0)]
    net = network()
    (reduced,) = reduce_property(net, Property(3, 4, (case(*BOX, conjunction(*rows)),)))
    graph = reduced.problem.network.module.graph()
    assert has_maxima(graph)
    z = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    outputs = net(torch.tensor(np.stack([reduced.original(point) for point in z]), dtype=torch.float32)).double()
    distances = torch.stack([outputs @ torch.tensor(weight).double() - bound for weight, bound in rows])
    soft = softened(graph, temperature).forward(z).double()
    assert torch.allclose(-soft[:, 1], temperature * torch.logsumexp(distances / temperature, dim=0), atol=1e-4)
    assert (soft[:, 1] <= graph.forward(z)[:, 1] + 1e-5).all()


def test_one_row_has_no_maxima():
    (reduced,) = reduce_property(network(), Property(3, 4, (case(*BOX, conjunction(ROW)),)))
    assert not has_maxima(reduced.problem.network.module.graph())
