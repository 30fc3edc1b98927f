"""When to split inputs instead of ReLUs, and the outcome of doing so."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sokbench.core.outcome import Outcome, Termination, Verdict
from verifiers.bounds.optimized.many_boxes import takes
from verifiers.bounds.relaxations.relu import ADAPTIVE

from .proofs.boxes import BoxTree
from .search.input_search import Bounder, Boxes, Witness, box_bounder, search_boxes

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

Write = Callable[[BoxTree], Path]
"""Writes the proof of a search into a file."""


def few_inputs(state: Relaxed) -> bool:
    """Whether a ReLU network has so few inputs and so many unstable neurons on a box that inputs are to be split."""
    lower, upper = state.exact.inputs.interval()
    inputs = int((lower < upper).sum())
    unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in state.bounds.values())
    few = inputs <= _MOST_INPUTS and unstable >= _UNSTABLE_PER_INPUT * inputs
    return few and state.exact.inputs.is_box and takes(state.graph)


def split_inputs(
    asked: Question, deadline: Deadline, relaxation: Relaxation = ADAPTIVE, write: Write | None = None
) -> Outcome | None:
    """The answer of splitting the input; None where that is not to be tried or does not decide in its share of the
    time. write: called with what a proof needs, if all rows were proved."""
    state, keep = asked.relaxed, write is not None
    if not few_inputs(state):
        return None
    # a proof shows every row, also those that are positive already
    known = torch.full_like(asked.bounds, -torch.inf) if keep else asked.bounds
    root = Boxes.root(state.exact.inputs.interval(), known, dict(state.bounds))
    share = deadline.share(_SHARE)
    bounder = box_bounder(state, asked.start, share, relaxation, keep)
    outcome = decide_boxes(root, bounder, asked.witness, share, write=write)
    return None if outcome.verdict is Verdict.UNKNOWN else outcome


def decide_boxes(
    root: Boxes, bounder: Bounder, witness: Witness, deadline: Deadline, batch: int = _BATCH, write: Write | None = None
) -> Outcome:
    """The outcome of `search_boxes`; undecided, not late, where it gave up at a margin too close to zero. write: called
    with the tree if all rows were proved."""
    began = time.monotonic()
    found = search_boxes(root, bounder, witness, batch, deadline)
    seconds = round(time.monotonic() - began, 3)
    stats: dict[str, Any] = {"domains": found.boxes, "search_seconds": seconds, "open": found.left}
    stats["decided_by"] = "input_search"
    if found.witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=found.witness, stats=stats)
    margin = found.bound if found.bound > float("-inf") else None
    if found.left == 0 and found.bound > 0:
        if write is not None:
            stats["proof"] = str(write(found.tree))
        return Outcome(Verdict.VERIFIED, margin, stats=stats)
    return Outcome(Verdict.UNKNOWN, margin, None, Termination.OK if found.stuck else Termination.TIMEOUT, stats=stats)
