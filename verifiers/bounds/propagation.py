"""Runs a plan over a graph: node by node, intervals first, then back-substitution of what relaxations need tighter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.bivariate import Max
from verifiers.graph.elementwise import Elementwise
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

from .backward import Rows, substitute
from .interval import ball_image, meet, propagate
from .plans import Plan
from .relaxations.nonlinear import worth_rows
from .relaxations.relu import Relaxation
from .rounding import Rounding
from .sets.inputs import DualBall, InputSet, Interval
from .state import Bounds
from .targets import Chunk, Target, out_of_memory, rows_at_once


def run(
    graph: Graph,
    inputs: InputSet,
    plan: Plan,
    rounding: Rounding,
    magnitudes: tuple[LinearOp | None, ...],
    deadline: Deadline,
    everywhere: bool = False,
) -> tuple[Bounds, bool]:
    """(intervals of all nodes but the last, whether all of the plan was carried out before the deadline).

    magnitudes: x -> |W| x of the affine nodes. everywhere: bound every entry of every node, the last one included, not
    only what margins need. After the deadline the remaining nodes get intervals only, which are sound.
    """
    bounds = Bounds(graph, inputs, rounding)
    bounds.append(inputs.interval())
    refined = _refined(graph, inputs, everywhere) if plan.intermediate or everywhere else set()
    ball = inputs.ball
    centres = {} if ball is None else {0: ball[0]}
    bounded: dict[int, Tensor] = {}
    complete = True
    for index, node in enumerate(graph.nodes if everywhere else graph.nodes[:-1]):
        if index == 0:
            continue
        sources = [bounds.intervals[i] for i in node.inputs]
        size = partial(bounds.size, node.inputs[0])
        interval = propagate(graph, index, sources, magnitudes[index], size, rounding)
        if ball is not None and node.inputs[0] in centres:
            interval = from_ball(bounds, index, centres, ball, interval)
        bounds.append(interval)
        if plan.relaxation is None or not refined:
            continue
        known = bounds.intervals
        for source, wanted in _everything(known, index) if everywhere else worth_rows(graph, index, known, bounded):
            if source in refined:
                complete = _refine(bounds, source, wanted.flatten(1), plan, plan.relaxation, deadline) and complete
    return bounds, complete


def from_ball(bounds: Bounds, index: int, centres: dict[int, Tensor], ball: DualBall, interval: Interval) -> Interval:
    """`interval` met with what the dual norm says about a node whose input is the network's, at most rearranged."""
    op, source = bounds.graph.nodes[index].op, bounds.graph.nodes[index].inputs[0]
    if isinstance(op, (Reshape, Permute)):
        centres[index] = op.linear(centres[source])
        return interval
    _, radius, q = ball
    image = ball_image(bounds.graph, index, centres[source], radius, q, bounds.inputs.size(), bounds.rounding)
    return interval if image is None else meet(interval, image)


def margins(bounds: Bounds, labels: Tensor, relaxation: Relaxation, chunk_bytes: int) -> Tensor:
    """Lower bounds (B, C - 1) of f_y - f_j for j != y ascending, NaN where nothing is known.

    The functions f_y - f_j are fused with the last affine operations, so that even interval bounds see W_y - W_j.
    """
    batch, classes = len(labels), bounds.graph.num_classes
    reference = bounds.intervals[0].lower
    unit = torch.eye(classes, dtype=reference.dtype, device=reference.device)
    below = reference.new_full((1, 1, 1), -1.0)
    widest = max(math.prod(node.shape) for node in bounds.graph.nodes)
    at_once = max(1, rows_at_once(widest, reference, chunk_bytes) // (classes - 1))
    found = []
    for first in range(0, batch, at_once):
        owner = slice(first, min(first + at_once, batch))
        own = labels[owner]
        rows = (unit[own][:, None] - unit[other_classes(own, classes)])[None]
        start = Rows(bounds.graph.output, rows, rows.new_zeros(rows.shape[:3]))
        found.append(substitute(bounds, start, owner, below, relaxation)[0])
    return torch.cat(found)


def other_classes(labels: Tensor, classes: int) -> Tensor:
    """The classes j != y ascending, (B, C - 1)."""
    ascending = torch.arange(classes - 1, device=labels.device)
    return ascending + (ascending >= labels[:, None])


def _refined(graph: Graph, inputs: InputSet, everywhere: bool) -> set[int]:
    """The nodes whose interval bounds may be loose, of the inputs of nonlinear ones or `everywhere`.

    One mixing operation (or none) after a box gives each coordinate's exact range, and so do functions of one variable
    after it; the interval of a maximum of such nodes is no looser than any plane. Rows could not improve on them.
    """
    box = {0} if inputs.is_box else set()
    tight = {0} | box
    for index, node in enumerate(graph.nodes[1:], start=1):
        moved = isinstance(node.op, LinearOp) and node.op.selects()
        if moved and node.inputs[0] in box:
            box.add(index)
        if (isinstance(node.op, LinearOp) and node.inputs[0] in box) or (
            (moved or isinstance(node.op, (Elementwise, Max))) and tight.issuperset(node.inputs)
        ):
            tight.add(index)
    if everywhere:
        return set(range(len(graph.nodes))) - tight
    return {source for i in graph.nonlinear for source in graph.nodes[i].inputs} - tight


def _everything(intervals: list[Interval], index: int) -> Iterator[tuple[int, Tensor]]:
    yield index, torch.ones_like(intervals[index].lower, dtype=torch.bool)


def _refine(bounds: Bounds, index: int, wanted: Tensor, plan: Plan, relaxation: Relaxation, deadline: Deadline) -> bool:
    """Bound the `wanted` (B, n) entries of node `index` by back-substitution; False if the deadline cut it short.

    Where memory does not suffice, in smaller chunks. Raises `MemoryError` if single rows do not fit.
    """
    lower, upper = (side.flatten(1).clone() for side in bounds.intervals[index])
    sign = lower.new_tensor([-1.0, 1.0]).reshape(2, 1, 1)
    target, complete = Target.of(bounds.graph, index, bounds.inputs.is_box), True
    at_once = rows_at_once(target.widest, lower, plan.chunk_bytes)
    for chunk in target.chunks(wanted, at_once):
        if deadline.expired():
            complete = False
            break
        for samples, entries, low, high in _bounded(bounds, target, chunk, sign, relaxation):
            lower[samples, entries] = torch.fmax(lower[samples, entries], low)
            upper[samples, entries] = torch.fmin(upper[samples, entries], high)
    shape = bounds.intervals[index].lower.shape
    bounds.replace(index, Interval(lower.reshape(shape), upper.reshape(shape)))
    return complete


def _bounded(
    bounds: Bounds, target: Target, chunk: Chunk, sign: Tensor, relaxation: Relaxation
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(samples, entries, lower, upper) of the entries of a chunk, which is halved as often as memory demands."""
    try:
        rows = target.rows(bounds, chunk)
        low, high = substitute(bounds, rows, chunk.owner, sign, relaxation).flatten(1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        halves = chunk.halves()
        if halves is None:
            raise MemoryError(f"one row of {bounds.graph.nodes[target.index].label!r} does not fit") from error
    else:
        yield chunk.samples.flatten(), chunk.entries.flatten(), low, high
        return
    for half in halves:
        yield from _bounded(bounds, target, half, sign, relaxation)
