"""The check that a method keeps its deadline by itself; the runner's kill is only the second fence."""

from __future__ import annotations

import threading
import time
from typing import Final

from ..core.method import Method
from ..core.outcome import Outcome
from ..core.problem import Problem
from .cases import case

LIMIT: Final = 0.5
GRACE: Final = 2.5
"""Seconds given, and how much later than that an answer may come: one step of a solver, on a machine that is busy."""

RADIUS: Final = {"linf": 0.1, "l2": 0.5, "l1": 1.0, "l0": 2.0}


def deadlines_are_kept(method: Method) -> list[str]:
    """A problem on which an exact method runs out of time; once with a limit and once with none left."""
    norm = method.info.norms[0]
    item = case(f"large/{norm}/{RADIUS[norm]:g}")
    method.prepare(item.network)
    failures = []
    for limit in (LIMIT, 0.0):
        answered = _answered_within(method, item.problem(0), limit, limit + GRACE)
        if isinstance(answered, Exception):
            failures.append(f"on {item.name} with a limit of {limit:g} s: raised {type(answered).__name__}: {answered}")
        elif answered is None:
            failures.append(
                f"on {item.name} with a limit of {limit:g} s: no answer {GRACE:g} s after the limit; "
                "call deadline.check() in every loop, and give solvers deadline.remaining()"
            )
            break  # the call still runs, and another would only add to it
    return failures


def _answered_within(method: Method, problem: Problem, limit: float, seconds: float) -> Outcome | Exception | None:
    """The outcome, the error it ended with, or None if there was no answer in time (then the call is left running)."""
    answers: list[Outcome | Exception] = []

    def call() -> None:
        try:
            answers.append(method.verify(problem, limit))
        except Exception as error:  # reported in words by the caller
            answers.append(error)

    thread = threading.Thread(target=call, daemon=True)
    started = time.monotonic()
    thread.start()
    thread.join(seconds)
    late = time.monotonic() - started > seconds
    return None if late or not answers else answers[0]
