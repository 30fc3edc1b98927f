"""Domains, leaves and the search over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import Skip, dense, points_in
from tests.verifiers.lp.nets import exact_minimum, network_of, random_chain
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.bounds.optimized.relaxed import relaxed
from verifiers.bounds.optimized.sweep import Triangles
from verifiers.bounds.sets.inputs import Interval
from verifiers.complete.beta_crown import BetaCrown
from verifiers.complete.search.domains import Columns, Domains, Pool, split_triangles
from verifiers.complete.search.refined_search import RefinedSearch, State, domain_search
from verifiers.complete.search.split_search import SplitSearch, SplitSettings
from verifiers.graph import graph_of
from verifiers.lp.input_set import input_set


def domains(bounds: list[float]) -> Domains:
    count = len(bounds)
    values = torch.arange(float(count))[:, None]
    target = torch.arange(count)
    phase = torch.zeros(count, 1, dtype=torch.int8)
    return Domains(torch.tensor(bounds), target, target.clone(), phase, values, values.clone())


def test_pool_gives_the_highest_and_loses_nothing():
    generator = np.random.default_rng(0)
    pool, left = Pool(domains([])), {}
    names = 0
    for _ in range(60):
        if generator.random() < 0.6:
            bounds = generator.normal(size=generator.integers(1, 6)).astype(np.float32).tolist()
            new = domains(bounds)
            new.target.add_(names)
            left |= {names + place: bound for place, bound in enumerate(bounds)}
            names += len(bounds)
            pool.push(new)
        else:
            taken = pool.pop(int(generator.integers(1, 5)))
            expected = sorted(left.values(), reverse=True)[: len(taken)]
            assert sorted(taken.bound.tolist(), reverse=True) == pytest.approx(expected)
            for target, bound in zip(taken.target.tolist(), taken.bound.tolist(), strict=True):
                assert left.pop(target) == pytest.approx(bound)
        assert len(pool) == len(left)
        assert set(pool.targets().tolist()) == set(left)


def test_columns_there_and_back():
    free = {2: torch.tensor([[1.0, 0.0, 1.0]]), 5: torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])}
    columns = Columns.of(Triangles({}, {}, free, {}))
    assert columns.width == 4
    assert [columns.neuron(column) for column in range(4)] == [(2, 0), (2, 2), (5, 1), (5, 2)]
    vectors = torch.arange(8.0).reshape(2, 4)
    dense_ = {index: columns.scatter(index, vectors, torch.full_like(mask, -1.0)) for index, mask in free.items()}
    assert dense_[2].tolist() == [[0.0, -1.0, 1.0], [4.0, -1.0, 5.0]]
    assert torch.equal(columns.gather(dense_, 2), vectors)


def state_of(network, x, ball):
    state = relaxed_input(graph_of(network), x, ball, Deadline())
    assert state is not None
    return state, Columns.of(state.triangles(torch.float32))


def test_fixed_phases_are_exact_lines():
    network = load_network(dense([3, 6, 6, 2], 0).float(), (3,))
    state, columns = state_of(network, torch.zeros(3), Ball("linf", 0.7))
    phase = torch.zeros(2, columns.width, dtype=torch.int8)
    phase[0, 0], phase[1, columns.width - 1] = 1, -1
    relus = split_triangles(state.triangles(torch.float32), columns, phase)
    for row, (column, slope) in enumerate(((0, 0.0), (columns.width - 1, 1.0))):
        index, entry = columns.neuron(column)
        assert float(relus.chord[index].flatten(1)[row, entry]) == slope
        assert float(relus.offset[index].flatten(1)[row, entry]) == 0.0
        assert float(relus.free[index].flatten(1)[row, entry]) == 0.0
        other = relus.free[index].flatten(1)[1 - row, entry] if len(relus.free[index]) > 1 else 1.0
        assert float(other) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_a_search_with_one_domain_at_a_time_reaches_the_exact_minimum(seed):
    """Every leaf of the tree comes from the linear program where bounds do not close it first."""
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, (3, 4, 4, 2))
    network, x = network_of(layers), torch.tensor(rng.normal(size=3), dtype=torch.float32)
    ball = Ball("linf", 0.6)
    inputs = input_set(x, ball)
    exact, _ = exact_minimum(layers, inputs, np.array([1.0, -1.0]))
    for gap, provable in ((1e-3, True), (-1e-3, False)):
        state, columns = state_of(network, x, ball)
        start = margin_rows(graph_of(network), 0, torch.tensor([1]))
        start.constants.fill_(gap - exact)
        with torch.no_grad():
            bounds, ascent = state.raise_rows(start, Schedule(2), lambda b, _: b > 0, Deadline())
            if bounds[0] > 0:
                assert provable
                continue
            settings = SplitSettings(batch=1, schedule=Schedule(1), patience=10**9)
            search = SplitSearch(state, columns, start, inputs, lambda _: None, settings, keep=True)
            found = search.run(bounds, ascent.best_slopes, {}, Deadline())
        assert (found.bounds[0] > 0) == provable
        assert float(found.bounds[0]) <= gap + 1e-6
        assert (found.undecided > 0) == (not provable)
        assert bool(found.leaves) == provable


@pytest.mark.parametrize("known", [-1e9, -torch.inf])
def test_states_are_not_lost_whatever_bound_they_come_with(known):
    """Splits are compared by shares of the state's bound, which may be nothing at all."""
    network, x, ball = load_network(dense([3, 8, 8, 2], 5).float(), (3,)), torch.zeros(3), Ball("linf", 0.7)
    with torch.no_grad():
        logits = network.module.double()(points_in(x, ball, 4000))
    margins = logits[:, 0] - logits[:, 1]
    network.module.float()
    for gap in (-1e-3, 0.05):
        state, _ = state_of(network, x, ball)
        start = margin_rows(graph_of(network), 0, torch.tensor([1]))
        start.constants.fill_(gap - float(margins.min()))
        with torch.no_grad():
            _, ascent = state.raise_rows(start, Schedule(2), lambda b, _: b > 0, Deadline())
            bounds = torch.tensor([known], dtype=torch.float64)
            settings = SplitSettings(batch=4, schedule=Schedule(2), patience=4)
            search = RefinedSearch(start, domain_search(start, input_set(x, ball), lambda _: None, settings, False))
            result = search.run(State(state, torch.tensor([0]), bounds, ascent), bounds, Deadline.after(10.0))
        assert result.states > 0
        assert float(result.bounds[0]) <= gap
        assert gap > 0 or float(result.bounds[0]) <= 0


def test_convolutions_are_split_where_their_values_lie_in_any_order():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    network, x, ball = load_network(module, (1, 4, 4)), torch.zeros(1, 4, 4), Ball("linf", 0.5)
    state, columns = state_of(network, x, ball)
    intervals = [Interval(torch.zeros(1, *node.shape), torch.ones(1, *node.shape)) for node in state.graph.nodes]
    (relu,) = state.graph.relus
    lower, upper = (side.contiguous(memory_format=torch.channels_last) for side in state.bounds[relu])
    intervals[state.graph.nodes[relu].inputs[0]] = Interval(lower, upper)
    again = relaxed(state.graph, state.exact.inputs, state.search.inputs, intervals)
    for column in range(columns.width):
        index, entry = columns.neuron(column)
        half = again.fix(index, entry, 1)
        assert float(half.bounds[index].upper.flatten()[entry]) == 0.0
        assert int((half.bounds[index].upper != upper).sum()) == 1


def test_residual_networks_are_decided():
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.ReLU(), torch.nn.Linear(5, 5))
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), Skip(inner), torch.nn.ReLU(),
                                 torch.nn.Linear(5, 3))  # fmt: skip
    network, x = load_network(module, (3,)), torch.tensor([0.4, -0.2, 0.7])
    label = int(network(x[None]).argmax())
    verdicts = []
    for radius in np.linspace(0.05, 1.5, 12):
        ball = Ball("linf", float(radius))
        outcome = BetaCrown().verify(Problem(network, x, label, ball), 20.0)
        verdicts.append(outcome.verdict)
        logits = network(points_in(x, ball, 3000).float())
        if outcome.verdict is Verdict.VERIFIED:
            assert (logits.argmax(dim=1) == label).all()
    assert Verdict.UNKNOWN not in verdicts
    assert verdicts == sorted(verdicts, key=[Verdict.VERIFIED, Verdict.FALSIFIED].index)


def test_what_was_proved_is_returned_in_time():
    network = load_network(dense([20, 60, 60, 60, 4], 0, 1.5).float(), (20,))
    x = torch.zeros(20)
    label = int(network(x[None]).argmax())
    method = BetaCrown()
    problem = Problem(network, x, label, Ball("linf", 0.25))
    outcome = method.verify(problem, 1.0)
    if outcome.verdict is Verdict.UNKNOWN:
        assert outcome.margin is not None
        assert outcome.stats["open"] > 0
        assert outcome.termination == "timeout"
