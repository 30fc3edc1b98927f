"""Bounded MILP against brute force over activation patterns, at boundaries, and on networks built to mislead."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.evaluation import judge_witness
from sokbench.core.outcome import Termination, Verdict
from tests.verifiers.lp.nets import exact_minimum, layer, network_of, random_chain
from verifiers.attacks.descent import attacked_margins
from verifiers.lp.input_set import input_set

MILP = sokbench.method("milp")
CLEAR = 1e-5


def correct_label(network, x) -> int:
    with torch.no_grad():
        return int(network(x[None]).argmax())


def exact_margin(layers, problem) -> float:
    classes = len(layers[-1].bias)
    inputs = input_set(problem.x, problem.ball)
    rows = [np.eye(classes)[problem.label] - np.eye(classes)[j] for j in range(classes) if j != problem.label]
    return min(exact_minimum(layers, inputs, row)[0] for row in rows)


def assert_agrees(outcome, problem, exact: float) -> None:
    """The verdict matches the exact minimum wherever that is clear of rounding, and is never contradicted by it."""
    if outcome.verdict is Verdict.VERIFIED:
        assert exact > -1e-9
        assert outcome.margin is not None
        assert 0 < outcome.margin <= exact + 1e-6
    if outcome.verdict is Verdict.FALSIFIED:
        assert exact < 1e-9
        assert judge_witness(problem, outcome.witness)[0]
        assert outcome.witness.dtype == problem.x.dtype
    if abs(exact) > CLEAR:
        assert outcome.verdict is (Verdict.VERIFIED if exact > 0 else Verdict.FALSIFIED)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_agrees_with_brute_force_on_random_networks(norm):
    decided = {Verdict.VERIFIED: 0, Verdict.FALSIFIED: 0, Verdict.UNKNOWN: 0}
    for seed in range(200 if norm == "linf" else 60):
        rng = np.random.default_rng(seed)
        layers = random_chain(rng, (2, 3, 2, 3) if seed % 2 else (3, 4, 2))
        network = network_of(layers)
        x = torch.tensor(rng.normal(size=layers[0].weight.shape[1]), dtype=torch.float32)
        box = (None, None) if seed % 3 else (-1.0, 1.0)
        x = x if box[0] is None else x.clamp(*box)
        ball = sokbench.Ball(norm, float(rng.choice([0.0, 0.05, 0.3, 1.0]) * (1 if norm == "linf" else 3)), *box)
        problem = sokbench.Problem(network, x, correct_label(network, x), ball)
        outcome = MILP.verify(problem)
        decided[outcome.verdict] += 1
        assert_agrees(outcome, problem, exact_margin(layers, problem))
    assert decided[Verdict.VERIFIED] > 10
    assert decided[Verdict.FALSIFIED] > 10
    assert decided[Verdict.UNKNOWN] == 0


@pytest.mark.parametrize("offset", [-1e-2, -1e-6, -1e-9, 0.0, 1e-9, 1e-6, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_at_the_decision_boundary(seed, offset):
    """The last bias is moved so that the exact margin on the ball is about `offset`."""
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, (2, 4, 3, 2))
    x = torch.tensor(rng.normal(size=2), dtype=torch.float32)
    ball = sokbench.Ball("linf", 0.25)
    least, _ = exact_minimum(layers, input_set(x, ball), np.array([1.0, -1.0]))
    layers[-1] = layer(layers[-1].weight.toarray(), layers[-1].bias + np.array([offset - least, 0.0]))
    # the float32 bias moves the boundary by its own rounding
    layers[-1].bias[:] = layers[-1].bias.astype(np.float32)
    problem = sokbench.Problem(network_of(layers), x, 0, ball)
    assert_agrees(MILP.verify(problem), problem, exact_margin(layers, problem))


def test_all_neurons_stable_or_all_unstable():
    identity = np.eye(2)
    stable = [layer(identity, [10.0, 10.0]), layer([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0])]
    unstable = [layer(identity, [0.0, 0.0]), layer([[1.0, -1.0], [0.0, 0.0]], [1.5, 0.0])]
    for layers, verdict in ((stable, Verdict.VERIFIED), (unstable, Verdict.VERIFIED)):
        problem = sokbench.Problem(network_of(layers), torch.zeros(2), 0, sokbench.Ball("linf", 0.25))
        outcome = MILP.verify(problem)
        assert outcome.verdict is verdict
        assert outcome.margin <= exact_margin(layers, problem) + 1e-9


def test_a_narrow_bump_that_gradients_do_not_see_is_found():
    """f_0 - f_1 = 1 - bump(x) with a bump of height 2 and width 2e-3 away from the input."""
    width, place = 1e-3, 0.37
    bump = layer([[1.0], [1.0], [1.0]], [-(place - width), -place, -(place + width)])
    last = layer(np.array([[-2.0, 4.0, -2.0], [0.0, 0.0, 0.0]]) / width, [1.0, 0.0])
    problem = sokbench.Problem(network_of([bump, last]), torch.zeros(1), 0, sokbench.Ball("linf", 1.0))
    outcome = MILP.verify(problem)
    assert outcome.verdict is Verdict.FALSIFIED
    assert abs(float(outcome.witness) - place) < 2 * width


@pytest.mark.parametrize("big", [1e4, 1e8, 1e12])
def test_cancelling_weights_are_never_verified_wrongly(big):
    layers = [
        layer([[1.0], [1.0], [-1.0]], [0.0, 0.0, 0.1]),
        layer([[big, -big, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0]),
        layer([[1.0, 0.0], [0.0, 1.0]], [1e-4, 0.0]),
    ]
    problem = sokbench.Problem(network_of(layers), torch.tensor([0.5]), 0, sokbench.Ball("linf", 0.45))
    assert MILP.verify(problem).verdict is not Verdict.VERIFIED


def test_unknown_solvers_are_refused():
    with pytest.raises(sokbench.InvalidInput, match="auto, highs or gurobi"):
        sokbench.method("milp", solver="cplex")


@pytest.fixture(scope="module")
def hard_problem():
    """A network whose last bias is moved until the attack just fails, far below what bounds can prove."""
    rng = np.random.default_rng(0)
    layers = random_chain(rng, (40, 60, 60, 60, 2))
    x = torch.tensor(rng.normal(size=40), dtype=torch.float32)
    ball = sokbench.Ball("linf", 0.25)
    network = network_of(layers)
    _, margins = attacked_margins(network, x[None], torch.tensor([0]), ball, [0.05] * 40, 8, 0)
    bias = layers[-1].bias + np.array([1.05 * abs(float(margins)) + 1.0, 0.0])
    return sokbench.Problem(network_of([*layers[:-1], layer(layers[-1].weight.toarray(), bias)]), x, 0, ball)


@pytest.mark.parametrize("limit", [1.0, 3.0])
@pytest.mark.parametrize("solver", ["highs", "auto"])
def test_limits_are_kept_and_what_was_proved_is_returned(hard_problem, limit, solver):
    method = sokbench.method("milp", solver=solver)
    method.prepare(hard_problem.network)
    began = time.monotonic()
    outcome = method.verify(hard_problem, limit)
    # 10% of the limit, and what a busy machine may add
    assert time.monotonic() - began < 1.1 * limit + 1.0
    assert outcome.termination is Termination.TIMEOUT
    assert outcome.margin is not None
