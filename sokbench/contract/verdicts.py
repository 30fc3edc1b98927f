"""Checks of verdicts: what `verify` may answer, for every kind of verifier and attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch

from ..core.deadline import Deadline
from ..core.evaluation import in_ball, judge_witness
from ..core.method import Attack, CompleteVerifier, Method
from ..core.outcome import Outcome, Termination, Verdict
from ..core.problem import NORMS, Problem
from .bounds import FLOAT64_ROUNDING
from .cases import EXHAUSTIBLE, Case, case, cases, searched, within_budget
from .networks import ORDINARY

CLEAR: Final = 1e-3
"""Optima this far from 0 are no matter of solver tolerance: a complete method must decide them."""


def verdicts_stand_up(method: Method) -> list[str]:
    """Verified is never refuted, falsified always has its witness, and a margin is never above an attained one."""
    failures = []
    for item, row, outcome in _answered(method, cases(method.info.norms)):
        attained = float(item.attained[row].min())
        where = f"on {item.name}, input {row}"
        if outcome.verdict is Verdict.VERIFIED and attained <= 0:
            failures.append(f"{where}: verified, but an input in the ball attains the margin {attained:.9g}")
        if outcome.margin is not None and outcome.margin > attained + FLOAT64_ROUNDING * (1 + abs(attained)):
            failures.append(f"{where}: claims the margin {outcome.margin:.9g}, but {attained:.9g} is attained")
        if outcome.verdict is Verdict.FALSIFIED:
            failures += [f"{where}: {wrong}" for wrong in _wrong_with_witness(item.problem(row), outcome)]
        if outcome.termination is Termination.CRASHED:
            failures.append(f"{where}: crashed, {outcome.stats}")
    return failures


def attacks_stay_in_the_ball(method: Attack) -> list[str]:
    failures = []
    for item in within_budget(cases(method.info.norms)):
        problem = item.problem(0)
        point = method.search(problem, Deadline())
        if tuple(point.shape) != item.network.input_shape:
            failures.append(f"on {item.name} search returned shape {tuple(point.shape)}, not one input")
        elif not in_ball(point, problem.x, problem.ball):
            failures.append(f"on {item.name} search returned a point outside the ball")
    return failures


def misclassified_inputs_falsify_themselves(method: Method) -> list[str]:
    failures = []
    for item in within_budget(cases(method.info.norms)):
        wrong = (int(item.labels[0]) + 1) % item.network.num_classes
        problem = item.problem(0, wrong)
        outcome = method.verify(problem)
        if outcome.verdict is not Verdict.FALSIFIED or outcome.witness is None:
            failures.append(f"on {item.name}, input 0 with the wrong label {wrong}: {outcome.verdict}, not falsified")
        elif not torch.equal(outcome.witness, problem.x):
            failures.append(f"on {item.name}, input 0 with the wrong label {wrong}: the witness is not the input")
    return failures


def zero_radius_is_decided(method: Method) -> list[str]:
    """On a correctly classified input, radius 0 is verified by a verifier and not falsified by anyone."""
    expected = Verdict.UNKNOWN if isinstance(method, Attack) else Verdict.VERIFIED
    failures = []
    names = [f"{network}/{norm}/0" for norm in method.info.norms for network in ORDINARY]
    for item, row, outcome in _answered(method, [case(name) for name in names]):
        if outcome.verdict is not expected:
            failures.append(f"on {item.name}, input {row}: {outcome.verdict}, not {expected}")
    return failures


def other_norms_are_unsupported(method: Method) -> list[str]:
    failures = []
    for norm in NORMS:
        if norm not in method.info.norms:
            outcome = method.verify(case(f"mlp/{norm}/1").problem(0))
            if outcome.termination is not Termination.UNSUPPORTED or outcome.verdict is not Verdict.UNKNOWN:
                failures.append(f"answers {outcome.verdict} for an {norm} ball, which info.norms does not name")
    return failures


def odd_networks_are_unsupported_or_sound(method: Method) -> list[str]:
    failures = []
    for item in cases(method.info.norms[:1], ["odd"]):
        problem = item.problem(0)
        outcome = method.verify(problem)
        if outcome.verdict is Verdict.VERIFIED and float(item.attained[0].min()) <= 0:
            failures.append(f"on {item.name}, a network with a sort inside: verified, but refuted; raise Unsupported")
        if outcome.verdict is Verdict.FALSIFIED:
            failures += [f"on {item.name}: {wrong}" for wrong in _wrong_with_witness(problem, outcome)]
    return failures


def complete_methods_decide(method: CompleteVerifier) -> list[str]:
    failures = []
    for item in within_budget(_exhausted(method)):
        optimum, outcome = item.exact, method.verify(item.problem(0))
        if optimum is None or abs(optimum) <= CLEAR:
            continue
        right = Verdict.VERIFIED if optimum > 0 else Verdict.FALSIFIED
        if outcome.verdict is not right:
            failures.append(
                f"on {item.name}, input 0: {outcome.verdict} ({outcome.termination}), but the exact least margin is "
                f"{optimum:.6g}"
            )
    return failures


def _exhausted(method: Method) -> Iterator[Case]:
    """The cases that exhaustion has solved, which is not charged to the method."""
    return (item for item in cases(method.info.norms, EXHAUSTIBLE) if item.exact is not None)


def _answered(method: Method, items: list[Case]) -> Iterator[tuple[Case, int, Outcome]]:
    """(case, row, outcome), one row of each case in turn and then the next, as far as the budget goes."""
    order = ((item, row) for row in range(2) for item in searched(items))
    for item, row in within_budget(order):
        outcome = method.verify(item.problem(row))
        if outcome.termination is not Termination.UNSUPPORTED:
            yield item, row, outcome


def _wrong_with_witness(problem: Problem, outcome: Outcome) -> list[str]:
    if outcome.witness is None:
        return ["falsified without a witness"]
    if tuple(outcome.witness.shape) != tuple(problem.x.shape):
        return [f"the witness has shape {tuple(outcome.witness.shape)}, not that of one input"]
    valid, margin = judge_witness(problem, outcome.witness)
    return [] if valid else [f"the witness does not stand up: margin {margin:.9g}, or outside the ball"]
