"""The search over phases: exact minima, coverage of the split, undecidable leaves, budgets."""

from __future__ import annotations

import numpy as np
import pytest

from sokbench.core.deadline import Deadline
from tests.verifiers.lp.nets import exact_minimum, forward, intervals, layer, random_chain
from verifiers.complete.search.phase_search import Patience, Split, phase_bounds, search_phases
from verifiers.lp.input_set import InputSet
from verifiers.lp.tighten import relax


def no_witness(_):
    return None


def relaxation(seed: int, sizes=(3, 5, 4, 2), radius=0.6):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    center = rng.normal(size=sizes[0])
    inputs = InputSet(center - radius, center + radius)
    return layers, inputs, relax(layers, inputs, intervals(layers, inputs))


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-5])
@pytest.mark.parametrize("seed", range(12))
def test_proves_what_is_just_above_the_threshold_and_not_what_is_below(seed, gap):
    layers, inputs, _ = relaxation(seed)
    exact, _ = exact_minimum(layers, inputs, np.array([1.0, -1.0]))
    for shift, provable in ((gap, True), (-gap, False)):
        moved = [*layers[:-1], layer(layers[-1].weight.toarray(), layers[-1].bias + np.array([shift - exact, 0.0]))]
        relaxed = relax(moved, inputs, intervals(moved, inputs))
        objective = relaxed.program.margin(moved[-1], 0, 1)
        found = search_phases(relaxed.program, relaxed.solver, objective, no_witness, Deadline())
        assert found.finished
        assert (found.bound > 0) is provable
        assert found.bound <= shift + 1e-7
        assert provable or found.undecided > 0


def test_children_cover_their_parent():
    """Every sampled behaviour satisfies the bounds of one of the two children of each split."""
    layers, inputs, relaxed = relaxation(1)
    program = relaxed.program
    rng = np.random.default_rng(0)
    points = rng.uniform(inputs.lower, inputs.upper, size=(200, 3))
    for depth, columns in enumerate(program.layers):
        values = forward([*layers[:depth], layers[depth]], points)
        for neuron in columns.unstable:
            on = phase_bounds(program, (Split(depth, int(neuron), True),))
            off = phase_bounds(program, (Split(depth, int(neuron), False),))
            pre = columns.pre[neuron]
            inside_on = values[:, neuron] >= on.lower[pre]
            inside_off = values[:, neuron] <= off.upper[pre]
            assert (inside_on | inside_off).all()
            assert on.row_upper[columns.floor[neuron]] == 0.0
            assert off.upper[columns.post[neuron]] == 0.0
            assert on.upper[pre] == columns.upper[neuron]


def test_the_budget_of_nodes_is_kept_and_the_solver_left_as_it_was():
    layers, _, relaxed = relaxation(3, (4, 12, 12, 2), 1.0)
    objective = relaxed.program.margin(layers[-1], 0, 1)
    before = relaxed.solver.minimum(objective, Deadline()).bound
    found = search_phases(relaxed.program, relaxed.solver, objective, no_witness, Deadline(), Patience(5))
    assert found.nodes <= 5
    assert not found.finished
    assert found.bound >= before - 1e-7
    assert relaxed.solver.minimum(objective, Deadline()).bound == pytest.approx(before, abs=1e-7)


def test_patience_goes_on_where_the_end_is_near():
    patience = Patience(10, expected=100)
    assert patience.lasts(9, 0.0)
    assert not patience.lasts(10, 0.0)
    assert patience.lasts(40, 0.5)
    assert not patience.lasts(50, 0.5)


def test_phases_fixed_from_the_outset_bound_that_part_only():
    layers, _, relaxed = relaxation(3, (4, 12, 12, 2), 1.0)
    objective = relaxed.program.margin(layers[-1], 0, 1)
    neuron = int(relaxed.program.layers[0].unstable[0])
    whole = search_phases(relaxed.program, relaxed.solver, objective, no_witness, Deadline())
    halves = [
        search_phases(
            relaxed.program, relaxed.solver, objective, no_witness, Deadline(), splits=(Split(0, neuron, active),)
        )
        for active in (True, False)
    ]
    assert min(half.bound for half in halves) == pytest.approx(whole.bound, abs=1e-7)
    assert max(half.bound for half in halves) > whole.bound + 1e-3


def test_a_witness_ends_the_search():
    layers, _, relaxed = relaxation(3, (4, 12, 12, 2), 1.0)
    objective = relaxed.program.margin(layers[-1], 0, 1)
    found = search_phases(relaxed.program, relaxed.solver, objective, lambda point: point, Deadline())
    assert found.witness is not None
    assert found.finished
    assert found.nodes == 1
