"""Backward bound propagation: linear functions of a node as linear functions of the input (CROWN, Theorem 3.2).

Rows a are (S, G, K, *shape): S sides (lower, upper, or both sharing one row while they agree), G owners, K rows each.
Through a relaxation with slopes m -+ r and offsets p -+ q (centre and half distance of its two lines) the row that
bounds from below becomes a m - |a| r with constant a p - |a| q, the one from above a m + |a| r and a p + |a| q.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from .inputs import InputSet, Interval, Owner, pair
from .nonlinear import Planes, relax
from .relaxations import Relaxation
from .rounding import Rounding, Size


@dataclass(frozen=True)
class _Slopes:
    """Slopes in one variable as centre and half distance, None where they vanish; steepest: the largest, for the
    rounding error."""

    centre: Tensor | None
    spread: Tensor | None
    steepest: Size


@dataclass(frozen=True)
class _Band:
    """The two planes around a nonlinear node: slopes for each of its inputs, offsets as centre and half distance;
    tallest: the largest offset."""

    slopes: tuple[_Slopes, ...]
    offset: Tensor
    offset_spread: Tensor
    tallest: Size


@dataclass(frozen=True)
class Bounds:
    """What is known about a batch so far: the intervals of the nodes reached. One call's own workspace."""

    graph: Graph
    inputs: InputSet
    rounding: Rounding
    intervals: list[Interval] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    _bands: dict[tuple[int, str], _Band] = field(default_factory=dict)

    def append(self, interval: Interval) -> None:
        self.intervals.append(interval)
        self.sizes.append(self.rounding.size(*interval))

    def replace(self, index: int, interval: Interval) -> None:
        """Better bounds of the node that was appended last."""
        self.intervals[index] = interval
        self.sizes[index] = self.rounding.size(*interval)

    def picked_size(self, index: int, owner: Owner) -> Size:
        """Size (G, 1) of node `index` for the owners of rows."""
        return _pick(self.sizes[index], owner)

    def band(self, index: int, relaxation: Relaxation) -> _Band:
        """The relaxation of nonlinear node `index` over the intervals of its inputs."""
        key = (index, relaxation.name)
        if key not in self._bands:
            node = self.graph.nodes[index]
            planes = relax(node, [self.intervals[i] for i in node.inputs], relaxation)
            size = self.rounding.size
            self._bands[key] = _Band(
                tuple(_slopes(low, high, size(low, high), planes) for low, high in planes.slopes),
                (planes.upper_offset + planes.lower_offset) / 2,
                (planes.upper_offset - planes.lower_offset) / 2,
                size(planes.lower_offset, planes.upper_offset),
            )
        return self._bands[key]


def _slopes(low: Tensor, high: Tensor, steepest: Size, planes: Planes) -> _Slopes:
    if planes.flat:
        return _Slopes(None, None, steepest)
    return _Slopes((low + high) / 2, None if planes.parallel else (high - low) / 2, steepest)


@dataclass
class Rows:
    """Linear functions of node `index`: values (S, G, K, *shape), constants and slack (S, G, K)."""

    index: int
    values: Tensor
    constants: Tensor
    slack: Size = 0.0


def substitute(bounds: Bounds, start: Rows, owner: Owner, sign: Tensor, relaxation: Relaxation) -> Tensor:
    """Bounds (S, G, K) of the functions `start` over the input set.

    sign: (S, 1, 1), -1 for a lower bound and +1 for an upper one.
    Raises `Unsupported` for an operation without a relaxation.
    """
    graph, rounding = bounds.graph, bounds.rounding
    pending = {start.index: start.values}
    constants, slack = start.constants, start.slack
    for index in range(start.index, 0, -1):
        if index not in pending:
            continue
        rows, node = pending.pop(index), graph.nodes[index]
        norm = rounding.norm(rows)
        passed: list[Tensor | None]
        if isinstance(node.op, Add):
            passed = [rows] * len(node.inputs)
        elif isinstance(node.op, LinearOp):
            (source,) = node.inputs
            if node.op.offset is not None:
                constants = constants + _pair_with_one(rows, node.op.offset.expand(node.shape))
                slack = slack + rounding.added(constants)
            slack = slack + rounding.affine(graph, index, norm, bounds.picked_size(source, owner))
            shape = graph.nodes[source].shape
            passed = [node.op.adjoint(rows.flatten(0, 2), shape).reshape(*rows.shape[:3], *shape)]
        else:
            band, magnitude = bounds.band(index, relaxation), rows.abs()
            passed = [_through(rows, magnitude, slopes, owner, sign) for slopes in band.slopes]
            added = pair(rows, band.offset[owner]) + sign * pair(magnitude, band.offset_spread[owner])
            constants = constants + added
            slack = slack + rounding.added(constants)
            entries, tallest = rows[0, 0, 0].numel(), _pick(band.tallest, owner)
            for source, slopes in zip(node.inputs, band.slopes, strict=True):
                size, steepest = bounds.picked_size(source, owner), _pick(slopes.steepest, owner)
                slack = slack + rounding.relaxed(entries, norm, size, steepest, tallest)
        for source, part in zip(node.inputs, passed, strict=True):
            if part is None:
                continue
            if source in pending:
                pending[source] = pending[source] + part
                slack = slack + rounding.merged(rounding.norm(pending[source]), bounds.picked_size(source, owner))
            else:
                pending[source] = part
    values = constants.expand(sign.shape[0], *constants.shape[1:])
    if 0 in pending:
        rows = pending[0]
        values = values + bounds.inputs.concretize(rows, sign, owner)
        entries, size = rows[0, 0, 0].numel(), _pick(bounds.inputs.size(), owner)
        slack = slack + rounding.concretized(entries, rounding.norm(rows), size) + rounding.added(values)
    return rounding.outward(values, slack, sign)


def _through(rows: Tensor, magnitude: Tensor, slopes: _Slopes, owner: Owner, sign: Tensor) -> Tensor | None:
    """Rows at one input of a nonlinear node; None where all slopes are zero."""
    if slopes.centre is None:
        return None
    passed = rows * slopes.centre[owner].unsqueeze(1)
    if slopes.spread is None:
        return passed
    sides = sign.reshape(-1, *(1 for _ in rows.shape[1:]))
    return torch.addcmul(passed, magnitude, sides * slopes.spread[owner].unsqueeze(1))


def _pair_with_one(rows: Tensor, values: Tensor) -> Tensor:
    """Sums of products (S, G, K) of rows with one tensor (*shape) for all owners."""
    return rows.flatten(3) @ values.flatten()


def _pick(size: Size, owner: Owner) -> Size:
    return size if isinstance(size, float) else size[owner].unsqueeze(1)
