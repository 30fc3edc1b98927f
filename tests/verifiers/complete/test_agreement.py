"""All complete methods against brute force over activation patterns, on random tiny networks and on hard cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.evaluation import judge_witness, logits64
from sokbench.core.outcome import Outcome, Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.core.registry import catalog
from tests.verifiers.lp.nets import exact_minimum, layer, network_of, random_chain
from verifiers.lp.input_set import input_set

COMPLETE = sorted(slug for slug, entry in catalog("verifier").items() if entry.info.complete)
OPTIONAL = {"smt_z3": "z3", "marabou": "maraboupy"}
CLEAR = 1e-4
"""Least margins this far from 0 are beyond the tolerances of the brute force."""


def complete_methods(norm: str) -> list[str]:
    """The installed complete methods for balls of `norm`."""
    found = []
    for slug in COMPLETE:
        if slug in OPTIONAL and not _installed(OPTIONAL[slug]):
            continue
        if norm in catalog("verifier")[slug].info.norms:
            found.append(slug)
    return found


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def random_problem(seed: int, norm: str = "linf") -> tuple[Problem, float]:
    """(problem, its exact least margin over the ball): two inputs, two hidden layers of three, three classes."""
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, (2, 3, 3, 3))
    network = network_of(layers)
    x = torch.tensor(rng.uniform(0, 1, size=2), dtype=torch.float32)
    label = int(network(x[None]).argmax())
    ball = Ball(norm, float(rng.choice([0.02, 0.1, 0.3])), 0.0, 1.0)  # type: ignore[arg-type]
    problem = Problem(network, x, label, ball)
    others = [other for other in range(3) if other != label]
    inputs = input_set(x, ball)
    return problem, min(exact_minimum(layers, inputs, np.eye(3)[label] - np.eye(3)[other])[0] for other in others)


def check(slug: str, outcome: Outcome, problem: Problem, exact: float) -> None:
    if outcome.verdict is Verdict.VERIFIED:
        assert exact > 0, slug
    if outcome.verdict is Verdict.FALSIFIED:
        assert outcome.witness is not None
        assert judge_witness(problem, outcome.witness)[0]
        assert exact <= 1e-7, slug
    if outcome.margin is not None:
        assert outcome.margin <= exact + 1e-7, slug
    if outcome.termination is not Termination.UNSUPPORTED and abs(exact) > CLEAR:
        assert outcome.verdict is (Verdict.VERIFIED if exact > 0 else Verdict.FALSIFIED), (slug, exact, outcome)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_agree_with_brute_force(norm):
    for seed in range(12):
        problem, exact = random_problem(seed, norm)
        for slug in complete_methods(norm):
            check(slug, sokbench.method(slug).verify(problem, 120.0), problem, exact)


def nearest_by_sampling(problem: Problem) -> float:
    """The l2 distance of the nearest misclassified point of the box, among 250,000 of them, at least 0.001."""
    side = torch.linspace(0.0, 1.0, 500, dtype=torch.float64)
    points = torch.cartesian_prod(side, side)
    with torch.no_grad():
        logits = logits64(problem.network, points)
    wrong = logits.argmax(dim=1) != problem.label
    distances = (points - problem.x.double()).norm(dim=1)
    return max(1e-3, float(distances[wrong].min())) if bool(wrong.any()) else float("inf")


def test_l2_against_a_grid():
    """GeoCert just inside and just outside the nearest misclassified point of a fine grid."""
    searched = 0
    for seed in range(24):
        layers = random_chain(np.random.default_rng(seed), (2, 5, 5, 3))
        network = network_of(layers)
        x = torch.tensor(np.random.default_rng(seed).uniform(0.2, 0.8, size=2), dtype=torch.float32)
        label = int(network(x[None]).argmax())
        nearest = nearest_by_sampling(Problem(network, x, label, Ball("l2", 1.0, 0.0, 1.0)))
        if not 0.05 < nearest < 0.4:
            continue
        # the grid's points are 0.002 apart, so a misclassified point may be that much nearer
        for radius, right in ((nearest - 0.01, Verdict.VERIFIED), (nearest + 0.01, Verdict.FALSIFIED)):
            outcome = sokbench.method("geocert").verify(Problem(network, x, label, Ball("l2", radius, 0.0, 1.0)), 120.0)
            assert outcome.verdict is right, (seed, radius)
            searched += outcome.stats["decided_by"] == "search"
    assert searched >= 2


@pytest.mark.parametrize("slug", complete_methods("linf"))
def test_the_boundary_itself_is_not_verified(slug):
    """f_0 - f_1 = |x_0| + x_1 has the least value 0 exactly on this ball: a tie, which is no robustness."""
    layers = [
        layer([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [0.0, 0.0, 1.0]),
        layer([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], [0.0, 1.0]),
    ]
    problem = Problem(network_of(layers), torch.tensor([0.0, 0.5]), 0, Ball("linf", 0.5))
    outcome = sokbench.method(slug).verify(problem, 5.0)
    assert outcome.verdict is not Verdict.VERIFIED
    # a hair less, and it is robust; a hair more, and it is not
    inside = Problem(problem.network, problem.x, 0, Ball("linf", 0.49))
    assert sokbench.method(slug).verify(inside, 60.0).verdict is Verdict.VERIFIED
    outside = Problem(problem.network, problem.x, 0, Ball("linf", 0.51))
    assert sokbench.method(slug).verify(outside, 60.0).verdict is Verdict.FALSIFIED


@pytest.mark.parametrize("slug", COMPLETE)
def test_edge_cases(slug):
    """Radius 0; no unstable neuron; every neuron unstable."""
    norm = catalog("verifier")[slug].info.norms[0]
    if slug in OPTIONAL and not _installed(OPTIONAL[slug]):
        pytest.skip("not installed")
    rng = np.random.default_rng(3)
    stable = [layer(np.abs(rng.normal(size=(4, 2))).astype(np.float32), np.full(4, 0.5)),
              layer([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], [0.0, 1.5])]  # fmt: skip
    unstable = [layer([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], np.zeros(4)),
                layer(np.eye(4) - 0.125, np.zeros(4)),
                layer([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], [0.375, 0.0])]  # fmt: skip
    for layers, x in ((stable, [0.5, 0.5]), (unstable, [0.0, 0.0])):
        for radius in (0.0, 0.25):
            problem = Problem(network_of(layers), torch.tensor(x), 0, Ball(norm, radius))
            outcome = sokbench.method(slug).verify(problem, 120.0)
            assert outcome.verdict is Verdict.VERIFIED, (radius, outcome)
