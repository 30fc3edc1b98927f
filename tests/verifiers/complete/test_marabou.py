"""Marabou's word is no proof: what it calls unsat counts where a certified search of ours agrees."""

from __future__ import annotations

import pytest

import sokbench
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Problem
from tests.verifiers.complete.test_agreement import random_problem
from verifiers.complete import marabou
from verifiers.complete.search.phase_search import Search


@pytest.fixture(autouse=True)
def says_unsat(monkeypatch):
    """A Marabou, installed or not, that calls everything unsat."""
    monkeypatch.setattr(marabou, "_core", lambda: None)
    monkeypatch.setattr(marabou, "_ask", lambda *_: ("unsat", None))


def test_a_wrong_unsat_is_not_believed():
    refuted = 0
    for seed in range(30):
        problem, exact = random_problem(seed)
        outcome = sokbench.method("marabou").verify(problem, 10.0)
        assert (outcome.verdict is Verdict.VERIFIED) == (exact > 0), seed
        refuted += outcome.stats.get("reason") == "unsat is refuted"
    assert refuted >= 2


def test_no_time_for_the_proof_is_no_verdict(monkeypatch):
    robust = next(problem for problem, exact in map(random_problem, range(50)) if exact > 0.01 and _is_open(problem))
    unfinished = Search(-1.0, None, 1, finished=False, undecided=0)
    monkeypatch.setattr(marabou._Confirmation, "search", lambda *_: unfinished)
    outcome = sokbench.method("marabou").verify(robust, 10.0)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.termination is Termination.TIMEOUT


def _is_open(problem: Problem) -> bool:
    """Whether Marabou is asked at all."""
    return bool(sokbench.method("marabou").verify(problem, 10.0).stats["answers"])
