"""Answering a property with a method: its reduction to classification problems, and the judgement of witnesses.

The only place where a general property meets a method, so that methods need not know of properties.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .core.deadline import Deadline, OutOfTime
from .core.errors import Unsupported
from .core.outcome import Outcome, Termination, Verdict
from .core.property import Case, Conjunction, Property, float32_inside
from .core.property_method import PropertyVerifier
from .core.registry import component
from .core.replay import replay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from .core.method import Method
    from .core.network import Network

_REDUCTION = "verifiers.graph.rewriting.reduction"
ANSWERS = {Verdict.VERIFIED: "holds", Verdict.FALSIFIED: "violated"}


def answer_of(verdict: str, termination: str) -> str:
    """VNN-COMP's word for an outcome: holds, violated, timeout, unknown, or error."""
    if verdict in ANSWERS:
        return ANSWERS[Verdict(verdict)]
    if termination in (Termination.OK, Termination.TIMEOUT):
        return "timeout" if termination == Termination.TIMEOUT else "unknown"
    return "unknown" if termination in (Termination.UNSUPPORTED, Termination.SKIPPED) else "error"


def decide(
    method: Method, network: Network, asked: Property, limit: float | None = None, onnx: Path | None = None
) -> Outcome:
    """Verified if the property holds, falsified by an input (shape `network.input_shape`, float32) that violates it.

    onnx: the file the network was read from, in which witnesses are evaluated again. The problems a property is
    reduced to share the time. `margin` is the least of theirs: how far outputs stay from the unsafe sets at least.
    Raises `InvalidInput` if the property is not about this network.
    """
    started, deadline = time.monotonic(), Deadline.after(limit)
    if isinstance(method, PropertyVerifier):
        return replace(_asked_directly(method, network, asked, deadline, onnx), seconds=time.monotonic() - started)
    try:
        problems = component(_REDUCTION).reduce_property(network, asked)
    except Unsupported as reason:
        problems, outcomes = [], [_unknown(Termination.UNSUPPORTED, reason=str(reason))]
    else:
        outcomes = []
    for place, reduced in enumerate(problems):
        budget = None if limit is None else deadline.remaining() / (len(problems) - place)
        if budget == 0.0:
            outcomes.append(_unknown(Termination.TIMEOUT))
            break
        outcome = _ask(method, reduced, network, asked, budget, onnx)
        if outcome.termination is Termination.UNSUPPORTED and len(reduced.case.unsafe) == 1:
            outcome = _row_by_row(method, reduced.case, network, asked, Deadline.after(budget), onnx) or outcome
        outcomes.append(outcome)
        if outcome.verdict is Verdict.FALSIFIED:
            break
    return replace(_together(outcomes), seconds=time.monotonic() - started)


def _asked_directly(
    method: PropertyVerifier, network: Network, asked: Property, deadline: Deadline, onnx: Path | None
) -> Outcome:
    """The answer of a method that takes properties, its witness judged like any other."""
    try:
        outcome = method.decide_property(network, asked, deadline, onnx)
    except Unsupported as reason:
        return _unknown(Termination.UNSUPPORTED, reason=str(reason))
    except OutOfTime as late:
        return _unknown(Termination.TIMEOUT, **late.stats)
    if outcome.witness is None:
        return outcome
    x = outcome.witness.double().reshape(-1).numpy()
    nearest = min(asked.cases, key=lambda case: case.outside(x))
    return _confirmed(outcome, float32_inside(x, nearest.lower, nearest.upper), network, asked, onnx)


def _ask(
    method: Method, reduced: Any, network: Network, asked: Property, limit: float | None, onnx: Path | None
) -> Outcome:
    outcome = method.verify(reduced.problem, limit)
    return outcome if outcome.verdict is not Verdict.FALSIFIED else _judged(outcome, reduced, network, asked, onnx)


def _row_by_row(
    method: Method, case: Case, network: Network, asked: Property, deadline: Deadline, onnx: Path | None
) -> Outcome | None:
    """For methods that cannot take the maximum over the rows of an unsafe set: it is not reached if one of its rows is
    never satisfied. None if no row settles it."""
    (unsafe,) = case.unsafe
    rows = len(unsafe.bound)
    for row in range(rows if rows > 1 else 0):
        alone = replace(case, unsafe=(Conjunction(unsafe.weight[[row]], unsafe.bound[[row]]),))
        (reduced,) = component(_REDUCTION).reduce_property(network, replace(asked, cases=(alone,)))
        outcome = _ask(method, reduced, network, asked, deadline.remaining() / (rows - row), onnx)
        if outcome.verdict is not Verdict.UNKNOWN:
            return replace(outcome, stats={**outcome.stats, "row": row})
    return None


def _judged(outcome: Outcome, reduced: Any, network: Network, asked: Property, onnx: Path | None) -> Outcome:
    """The outcome with its witness in the original input space, if the original property is violated there."""
    x = float32_inside(reduced.original(outcome.witness), reduced.case.lower, reduced.case.upper)
    return _confirmed(outcome, x, network, asked, onnx)


def _confirmed(
    outcome: Outcome, x: NDArray[np.float32], network: Network, asked: Property, onnx: Path | None
) -> Outcome:
    """Violated by `x` (inputs,) if it is; unknown if not."""
    import torch

    found = replay(asked, network, x, onnx)
    stats = {**outcome.stats, **found.facts()}
    if not found.valid:
        return Outcome(Verdict.UNKNOWN, outcome.margin, None, outcome.termination, stats=stats)
    stats["outputs"] = found.outputs.tolist()
    return replace(outcome, witness=torch.from_numpy(x).reshape(network.input_shape), stats=stats)


def _unknown(termination: Termination, **stats: Any) -> Outcome:
    return Outcome(Verdict.UNKNOWN, termination=termination, stats=stats)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """The answer to all problems of a property: violated if one is, holds if all do (also if there are none)."""
    if len(outcomes) == 1:
        return outcomes[0]
    stats = {"problems": [dict(outcome.stats) for outcome in outcomes]}
    last = outcomes[-1] if outcomes else None
    if last is not None and last.verdict is Verdict.FALSIFIED:
        return replace(last, stats={**last.stats, **stats})
    open_ones = [outcome for outcome in outcomes if outcome.verdict is not Verdict.VERIFIED]
    margins = [outcome.margin for outcome in outcomes]
    margin = None if not margins or None in margins else min(value for value in margins if value is not None)
    if not open_ones:
        return Outcome(Verdict.VERIFIED, margin, stats=stats)
    stopped = next((outcome for outcome in open_ones if outcome.termination is not Termination.OK), open_ones[0])
    reason = {"reason": stopped.stats["reason"]} if "reason" in stopped.stats else {}
    return Outcome(Verdict.UNKNOWN, margin, termination=stopped.termination, stats={**stats, **reason})
