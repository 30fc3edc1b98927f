from __future__ import annotations

import time
from typing import ClassVar

import pytest
import torch

from sokbench import (
    Attack,
    Ball,
    BoundingVerifier,
    MethodInfo,
    OutOfTime,
    Problem,
    Termination,
    Unsupported,
    Verdict,
)
from tests.sokbench.core.toys import ExactLinear, linear_network

INFO = MethodInfo(
    slug="probe", title="", kind="verifier", family="baseline", norms=("linf", "l2"), summary="", paper=""
)
NETWORK = linear_network([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
X = torch.tensor([0.8, 0.2])


def problem(radius: float, norm: str = "linf", label: int = 0) -> Problem:
    return Problem(NETWORK, X, label, Ball(norm, radius, 0.0, 1.0))


def probe(margins):
    class Probe(BoundingVerifier):
        info: ClassVar[MethodInfo] = INFO

        def margins(self, network, x, labels, ball, deadline=None):
            return margins(deadline)

    return Probe()


def raising(error):
    def margins(deadline):
        raise error

    return probe(margins)


def test_the_margin_of_a_linear_network_is_exact():
    outcome = ExactLinear().verify(problem(0.25))
    assert outcome.verdict is Verdict.VERIFIED
    assert outcome.margin == pytest.approx(0.6 - 2 * 0.25)
    assert ExactLinear().verify(problem(0.35)).verdict is Verdict.UNKNOWN


def test_a_margin_of_exactly_zero_does_not_verify():
    method = probe(lambda deadline: torch.tensor([[torch.inf, 0.0]]))
    assert method.verify(problem(0.1)).verdict is Verdict.UNKNOWN


def test_nan_never_verifies():
    outcome = probe(lambda deadline: torch.tensor([[torch.inf, torch.nan]])).verify(problem(0.1))
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.margin is None


def test_a_misclassified_input_is_falsified_by_itself():
    outcome = ExactLinear().verify(problem(0.0, label=1))
    assert outcome.verdict is Verdict.FALSIFIED
    assert torch.equal(outcome.witness, X)


def test_a_norm_that_was_not_declared_is_unsupported():
    outcome = ExactLinear().verify(problem(0.1, norm="l2"))
    assert outcome.termination is Termination.UNSUPPORTED
    assert outcome.verdict is Verdict.UNKNOWN
    assert "linf" in outcome.stats["reason"]


@pytest.mark.parametrize(
    ("error", "termination"),
    [
        (Unsupported("no such layer"), Termination.UNSUPPORTED),
        (OutOfTime(), Termination.TIMEOUT),
        (MemoryError("8 GiB"), Termination.MEMORY),
    ],
)
def test_how_a_run_ended_is_recorded(error, termination):
    outcome = raising(error).verify(problem(0.1))
    assert (outcome.verdict, outcome.termination) == (Verdict.UNKNOWN, termination)


def test_a_defect_passes_through():
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError()).verify(problem(0.1))


def test_what_was_proved_before_the_deadline_is_kept():
    partial = raising(OutOfTime(torch.tensor([[torch.inf, -0.5]]), layers=2)).verify(problem(0.1))
    assert (partial.termination, partial.margin, partial.stats) == (Termination.TIMEOUT, -0.5, {"layers": 2})
    proof = raising(OutOfTime(torch.tensor([[torch.inf, 0.5]]))).verify(problem(0.1))
    assert (proof.verdict, proof.termination) == (Verdict.VERIFIED, Termination.OK)


def test_the_limit_reaches_the_method():
    def margins(deadline):
        while True:
            deadline.check()
            time.sleep(0.001)

    outcome = probe(margins).verify(problem(0.1), limit=0.05)
    assert outcome.termination is Termination.TIMEOUT
    assert outcome.seconds >= 0.05


def attack_with(point):
    class Fixed(Attack):
        info: ClassVar[MethodInfo] = INFO

        def search(self, problem, deadline):
            return torch.tensor(point)

    return Fixed()


@pytest.mark.parametrize(
    ("point", "verdict"),
    [
        ([0.45, 0.55], Verdict.FALSIFIED),
        ([0.5, 0.5], Verdict.FALSIFIED),  # a tie is no proof of the label
        ([0.6, 0.4], Verdict.UNKNOWN),  # still classified correctly
        ([0.3, 0.7], Verdict.UNKNOWN),  # outside the ball
        ([float("nan"), 0.7], Verdict.UNKNOWN),
    ],
)
def test_a_falsification_needs_a_witness_that_stands_up(point, verdict):
    outcome = attack_with(point).verify(problem(0.36))
    assert outcome.verdict is verdict
    assert (outcome.witness is not None) == (verdict is Verdict.FALSIFIED)


def test_a_point_outside_the_box_is_no_witness():
    beyond = Problem(NETWORK, torch.tensor([0.5, 0.4]), 0, Ball("linf", 0.7, 0.0, 1.0))
    assert attack_with([0.5, 1.01]).verify(beyond).verdict is Verdict.UNKNOWN
