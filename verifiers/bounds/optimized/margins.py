"""alpha-CROWN margins of a batch: one input after the other, CROWN first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.problem import Ball
from verifiers.graph.graph import Graph
from verifiers.graph.rewriting.max_to_relu import max_to_relu

from .. import margin_bounds, run_plan
from ..plans import plan_of
from ..request import checked_inputs
from ..sets.inputs import input_set
from .ascent import Schedule
from .relaxed import Relaxed, relaxed, tighten
from .sweep import Start


def optimized_margins(
    graph: Graph,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    schedule: Schedule,
    deadline: Deadline,
    raise_layers: Callable[[Relaxed, Schedule, Deadline], None] = tighten,
) -> Tensor:
    """Lower bounds (B, C) of f_y - f_j as `margin_bounds` gives them, never below CROWN's.

    raise_layers: improves the bounds of hidden layers, from CROWN's on. Raises as `margin_bounds`; `OutOfTime` carries
    what was proved until then.
    """
    margins = margin_bounds(graph, x, labels, ball, "crown", deadline)
    graph = max_to_relu(graph)  # leaky ReLUs, absolute values, clamps and maxima then have slopes to optimise too
    with torch.no_grad():
        for sample, label in enumerate(labels.tolist()):
            if deadline.expired():
                raise OutOfTime(margins)
            try:
                state = relaxed_input(graph, x[sample], ball, deadline)
            except OutOfTime:
                raise OutOfTime(margins) from None
            if state is not None:
                raise_layers(state, schedule, deadline)
                _raise_margins(state, margins[sample], label, schedule, deadline)
    if deadline.expired():
        raise OutOfTime(margins)
    return margins


def relaxed_input(graph: Graph, x: Tensor, ball: Ball, deadline: Deadline, plan: str = "crown") -> Relaxed | None:
    """The network between a plan's bounds for one input (*shape); None where those overflow or there is
    nothing to optimise: no ReLU, no smooth activation."""
    found, _, complete = run_plan(graph, checked_inputs(graph, x[None], ball), plan_of(plan), deadline)
    if not complete:
        raise OutOfTime
    intervals = found.intervals
    finite = all(bool(lower.isfinite().all() and upper.isfinite().all()) for lower, upper in intervals)
    if not finite:
        return None
    exact, rough = input_set(x[None].double(), ball), input_set(x[None].float(), ball)
    state = relaxed(graph, exact, rough, intervals)
    return state if state.bounds else None


def margin_rows(graph: Graph, label: int, others: Tensor) -> Start:
    """The functions f_label - f_j for j in `others` (P,), rows of the output."""
    rows = torch.zeros(len(others), graph.num_classes, dtype=torch.float64)
    rows[torch.arange(len(others)), others] = -1.0
    rows[:, label] = 1.0
    return Start(graph.output, rows, rows.new_zeros(len(others)))


def _raise_margins(state: Relaxed, margins: Tensor, label: int, schedule: Schedule, deadline: Deadline) -> None:
    """Raise `margins` (C,) in place."""
    others = torch.arange(len(margins))
    others = others[others != label]
    found, _ = state.raise_rows(
        margin_rows(state.graph, label, others), schedule, lambda _, rows: torch.zeros_like(rows).bool(), deadline
    )
    margins[others] = torch.maximum(margins[others], found)
