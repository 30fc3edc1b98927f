"""When to split inputs instead of ReLUs, and the outcome of doing so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sokbench.core.outcome import Outcome, Termination, Verdict
from verifiers.bounds.optimized.many_boxes import takes
from verifiers.bounds.relaxations.relu import ADAPTIVE

from .input_search import Bounder, Boxes, Witness, box_bounder, search_boxes

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from verifiers.bounds.optimized.relaxed import Relaxed
    from verifiers.bounds.relaxations.relu import Relaxation

    from .split_decision import Question

# 2^n is what n splits of each coordinate cost, and what n splits of ReLUs do: ACAS Xu has 5 inputs and 200 unstable
# neurons
_MOST_INPUTS, _UNSTABLE_PER_INPUT = 12, 8
_SHARE = 0.5  # of the time that is left: what remains open is a problem for another method
_BATCH = 256


def few_inputs(state: Relaxed) -> bool:
    """Whether a ReLU network has so few inputs and so many unstable neurons on a box that inputs are to be split."""
    lower, upper = state.exact.inputs.interval()
    inputs = int((lower < upper).sum())
    unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in state.bounds.values())
    few = inputs <= _MOST_INPUTS and unstable >= _UNSTABLE_PER_INPUT * inputs
    return few and state.exact.inputs.is_box and takes(state.graph)


def split_inputs(asked: Question, deadline: Deadline, relaxation: Relaxation = ADAPTIVE) -> Outcome | None:
    """The answer of splitting the input; None where that is not to be tried or does not decide in its share of the
    time."""
    state = asked.relaxed
    if not few_inputs(state):
        return None
    root = Boxes.root(state.exact.inputs.interval(), asked.bounds, dict(state.bounds))
    share = deadline.share(_SHARE)
    bounder = box_bounder(state, asked.start, share, relaxation)
    outcome = decide_boxes(root, bounder, asked.witness, share)
    return None if outcome.verdict is Verdict.UNKNOWN else outcome


def decide_boxes(root: Boxes, bounder: Bounder, witness: Witness, deadline: Deadline, batch: int = _BATCH) -> Outcome:
    """The outcome of `search_boxes`; undecided, not late, where it gave up at a margin too close to zero."""
    began = time.monotonic()
    found = search_boxes(root, bounder, witness, batch, deadline)
    seconds = round(time.monotonic() - began, 3)
    stats = {"domains": found.boxes, "search_seconds": seconds, "open": found.left, "decided_by": "input_search"}
    if found.witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=found.witness, stats=stats)
    margin = found.bound if found.bound > float("-inf") else None
    if found.left == 0 and found.bound > 0:
        return Outcome(Verdict.VERIFIED, margin, stats=stats)
    return Outcome(Verdict.UNKNOWN, margin, None, Termination.OK if found.stuck else Termination.TIMEOUT, stats=stats)
