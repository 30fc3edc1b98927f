"""The warm solver: same bounds as a fresh one, sound when it is stopped, proofs of emptiness."""

from __future__ import annotations

import numpy as np
import pytest

from sokbench.core.deadline import Deadline
from tests.verifiers.lp.nets import intervals, random_chain
from verifiers.lp.input_set import InputSet
from verifiers.lp.solver import LinearSolver, Status
from verifiers.lp.tighten import relax


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(5)
    layers = random_chain(rng, (8, 20, 20, 5))
    center = rng.normal(size=8)
    inputs = InputSet(center - 0.2, center + 0.2)
    return layers, relax(layers, inputs, intervals(layers, inputs))


def test_a_warm_model_agrees_with_a_fresh_one(case):
    layers, relaxed = case
    for other in (1, 2, 3, 4):
        objective = relaxed.program.margin(layers[-1], 0, other)
        warm = relaxed.solver.minimum(objective, Deadline())
        fresh = LinearSolver(relaxed.program).minimum(objective, Deadline())
        assert warm.status is Status.OPTIMAL
        assert warm.bound == pytest.approx(fresh.bound, rel=1e-8, abs=1e-8)
        value = objective.cost @ warm.primal + objective.offset
        assert warm.bound <= value + 1e-6
        assert warm.bound == pytest.approx(value, rel=1e-6, abs=1e-6), "the safe bound should cost next to nothing"


def test_a_stopped_solve_is_sound(case):
    layers, relaxed = case
    objective = relaxed.program.margin(layers[-1], 0, 1)
    best = LinearSolver(relaxed.program).minimum(objective, Deadline()).bound
    late = LinearSolver(relaxed.program).minimum(objective, Deadline.after(0.0))
    assert late.bound <= best + 1e-9
    cut = LinearSolver(relaxed.program).minimum(objective, Deadline(), stop_above=best - 1.0)
    assert cut.bound <= best + 1e-9


def test_changed_bounds_are_undone(case):
    layers, relaxed = case
    objective = relaxed.program.margin(layers[-1], 0, 2)
    before = relaxed.solver.minimum(objective, Deadline()).bound
    bounds = relaxed.program.bounds.copy()
    bounds.upper[:8] = bounds.lower[:8]
    relaxed.solver.set_bounds(bounds)
    assert relaxed.solver.minimum(objective, Deadline()).bound > before
    relaxed.solver.set_bounds(relaxed.program.bounds)
    assert relaxed.solver.minimum(objective, Deadline()).bound == pytest.approx(before, abs=1e-7)


def test_an_empty_program_is_proved_empty(case):
    layers, relaxed = case
    columns = relaxed.program.layers[0]
    bounds = relaxed.program.bounds.copy()
    neuron = columns.pre[columns.pre >= 0][0]
    bounds.lower[neuron] = bounds.upper[neuron]
    bounds.upper[:8] = bounds.lower[:8] + 1e-3
    solver = LinearSolver(relaxed.program)
    solver.set_bounds(bounds)
    solution = solver.minimum(relaxed.program.margin(layers[-1], 0, 1), Deadline())
    assert solution.status is Status.INFEASIBLE
    assert solution.bound == np.inf
