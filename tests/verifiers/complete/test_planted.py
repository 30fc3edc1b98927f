"""No method may verify what has a counterexample by construction; every registered verifier is tried."""

from __future__ import annotations

import pytest
import torch

import sokbench
from sokbench.core.evaluation import judge_witness, logits64
from sokbench.core.outcome import Verdict
from sokbench.core.registry import catalog
from tests.verifiers.complete.planted import BUMPS, bump_problem, lost_problem

VERIFIERS = sorted(slug for slug, entry in catalog("verifier").items())


@pytest.mark.parametrize("name", BUMPS)
def test_the_counterexamples_are_real_and_attacks_miss_them(name):
    problem, peak = bump_problem(name, "linf")
    valid, margin = judge_witness(problem, peak)
    assert valid
    assert margin < -0.3
    assert not judge_witness(problem, problem.x)[0]
    outcome = sokbench.method("pgd", steps=20, restarts=3).verify(problem)
    assert outcome.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("slug", VERIFIERS)
def test_no_bump_is_verified(slug):
    norm = catalog("verifier")[slug].info.norms[0]
    method = sokbench.method(slug)
    for name in BUMPS:
        problem, peak = bump_problem(name, norm)
        outcome = method.verify(problem, 3.0)
        assert outcome.verdict is not Verdict.VERIFIED, name
        attained = logits64(problem.network, peak[None])[0]
        if outcome.margin is not None:
            assert outcome.margin <= float(attained[0] - attained[1]) + 1e-9


@pytest.mark.parametrize("slug", VERIFIERS)
def test_no_lost_sum_is_verified(slug):
    if "linf" not in catalog("verifier")[slug].info.norms:
        pytest.skip("another norm")
    method = sokbench.method(slug)
    for exponent in (10, 25, 30, 52, 60):
        problem = lost_problem(exponent)
        if judge_witness(problem, problem.x)[0]:
            continue  # then float64 sees it at the input itself
        assert method.verify(problem, 3.0).verdict is not Verdict.VERIFIED, exponent


COMPLETE = sorted(slug for slug, entry in catalog("verifier").items() if entry.info.complete)


@pytest.mark.parametrize("slug", COMPLETE)
def test_complete_methods_find_the_bump(slug):
    """What gradients miss, a complete search finds. Slopes of 8,000 are beyond Marabou's tolerances."""
    norm = catalog("verifier")[slug].info.norms[0]
    problem, _ = bump_problem("bump, 1 layers above", norm)
    outcome = sokbench.method(slug).verify(problem, 10.0)
    assert outcome.verdict is Verdict.FALSIFIED
    assert outcome.witness is not None
    assert float((outcome.witness - torch.tensor([0.7321, 0.5])).abs()[0]) < 2.0**-12
