"""Interval bounds of the Jacobian with respect to the input, carried forward (Weng et al. 2018, algorithm 2).

Column p of a node's Jacobian is what the network does to the p-th unit vector, so columns pass through affine
operations like inputs: c + [-r, r] becomes W c + [-|W| r, |W| r]. The products of a floating point W c err by
gamma |W| |c|, which goes into r (`verifiers.bounds.rounding`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.bounds.rounding import gamma
from verifiers.bounds.sets.inputs import UNDERFLOW, Interval
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp, one_hot

from .jacobian import differences, slope_range

_BYTES = 1 << 27  # of the columns on their way
_COPIES = 8

Columns = tuple[Tensor, Tensor]
"""c and r, each (P, *shape)."""


def gradient_bounds(
    graph: Graph, intervals: list[Interval], labels: Tensor, deadline: Deadline
) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds (B, C - 1, *input_shape) of the gradients of f_y - f_j for j != y ascending.

    intervals: of every node but the last, (B, *shape). Raises `Unsupported` for activations without a slope range and
    `OutOfTime`.
    """
    found = [_one(graph, intervals, sample, int(label), deadline) for sample, label in enumerate(labels)]
    low, high = (torch.stack(side) for side in zip(*found, strict=True))
    return low, high


def _one(graph: Graph, intervals: list[Interval], sample: int, label: int, deadline: Deadline) -> tuple[Tensor, Tensor]:
    rows, error, end = differences(graph, label)
    slopes = {
        index: slope_range(node, Interval(*(side[sample] for side in intervals[node.inputs[0]])))
        for index, node in enumerate(graph.nodes[: end + 1])
        if index in graph.nonlinear
    }
    widest = max(math.prod(node.shape) for node in graph.nodes)
    at_once = max(1, _BYTES // (_COPIES * 8 * widest))
    parts = []
    for chosen in torch.split(torch.arange(math.prod(graph.input_shape)), at_once):
        deadline.check()
        columns = _carry(graph, one_hot(chosen, graph.input_shape, torch.float64), slopes, end)
        parts.append(_combine(columns, rows.flatten(1), error.flatten(1)))
    low, high = (torch.cat(side, dim=1).reshape(-1, *graph.input_shape) for side in zip(*parts, strict=True))
    return low, high


def _carry(graph: Graph, unit: Tensor, slopes: dict[int, Interval], end: int) -> Columns:
    """The columns of node `end`, from those of the input."""
    known: dict[int, Columns] = {0: (unit, torch.zeros_like(unit))}
    for index, node in enumerate(graph.nodes[: end + 1]):
        if index == 0:
            continue
        centre, radius = known[node.inputs[0]]
        op, magnitude = node.op, graph.magnitudes[index]
        if isinstance(op, LinearOp) and magnitude is not None:
            error = gamma(2 * (op.terms + op.rounded) + 8)
            wide = radius + error * (centre.abs() + radius)
            known[index] = op.linear(centre), magnitude.linear(wide) + UNDERFLOW
        elif isinstance(op, Add):
            other, apart = known[node.inputs[1]]
            radius = radius + apart + gamma(4) * (centre.abs() + other.abs() + radius + apart)
            known[index] = centre + other, radius
        else:
            known[index] = _scaled(centre - radius, centre + radius, slopes[index])
    return known[end]


def _scaled(low: Tensor, high: Tensor, slopes: Interval) -> Columns:
    """[low, high] times slopes in [0, 1]."""
    low = low * torch.where(low < 0, slopes.upper, slopes.lower)
    high = high * torch.where(high > 0, slopes.upper, slopes.lower)
    return (low + high) / 2, (high - low) / 2 + gamma(8) * (low.abs() + high.abs()) + UNDERFLOW


def _combine(columns: Columns, rows: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (K, P) of rows times the Jacobian, for rows (K, n) that are wrong by at most `error`."""
    centre, radius = (part.flatten(1).T for part in columns)
    size = centre.abs() + radius
    reach = rows.abs() @ radius + error @ size + gamma(2 * len(size) + 16) * ((rows.abs() + error) @ size) + UNDERFLOW
    middle = rows @ centre
    return middle - reach, middle + reach
