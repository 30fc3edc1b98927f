"""Backward bound propagation: linear functions of a node as linear functions of the input (CROWN, Theorem 3.2).

Rows a are (S, G, K, *shape): S sides (lower, upper, or both sharing one row while they agree), G owners, K rows each.
Through a relaxation with slopes m -+ r and offsets p -+ q (centre and half distance of its two lines) the row that
bounds from below becomes a m - |a| r with constant a p - |a| q, the one from above a m + |a| r and a p + |a| q.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from .inputs import InputSet, Interval, Owner, pair
from .relaxations import Lines, Relaxation
from .rounding import Rounding, Size


@dataclass(frozen=True)
class _Band:
    """Lines as centre and half distance. slope and spread are None where they vanish; the last two are the largest
    slope and offset of each input, for the rounding error."""

    slope: Tensor | None
    spread: Tensor | None
    offset: Tensor
    offset_spread: Tensor
    steepest: Size
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
        """The relaxation of activation node `index` over the interval of its input."""
        key = (index, relaxation.name)
        if key not in self._bands:
            node = self.graph.nodes[index]
            if not isinstance(node.op, Relu):
                raise Unsupported(f"no linear relaxation of {node.op.name} at {node.label!r}")
            lines = relaxation.relu(*self.intervals[node.inputs[0]])
            self._bands[key] = _band(lines, relaxation, self.rounding)
        return self._bands[key]


def _band(lines: Lines, relaxation: Relaxation, rounding: Rounding) -> _Band:
    low, low_offset, high, high_offset = lines
    return _Band(
        None if relaxation.flat else (low + high) / 2,
        None if relaxation.flat or relaxation.parallel else (high - low) / 2,
        (high_offset + low_offset) / 2,
        (high_offset - low_offset) / 2,
        rounding.size(low, high),
        rounding.size(low_offset, high_offset),
    )


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
    Raises `Unsupported` for an activation without a relaxation.
    """
    graph, rounding = bounds.graph, bounds.rounding
    pending = {start.index: start.values}
    constants, slack = start.constants, start.slack
    for index in range(start.index, 0, -1):
        if index not in pending:
            continue
        rows, node = pending.pop(index), graph.nodes[index]
        norm, size = rounding.norm(rows), bounds.picked_size(node.inputs[0], owner)
        if isinstance(node.op, Add):
            passed: Tensor | None = rows
        elif isinstance(node.op, LinearOp):
            if node.op.offset is not None:
                constants = constants + _pair_with_one(rows, node.op.offset.expand(node.shape))
                slack = slack + rounding.added(constants)
            slack = slack + rounding.affine(graph, index, norm, size)
            shape = graph.nodes[node.inputs[0]].shape
            passed = node.op.adjoint(rows.flatten(0, 2), shape).reshape(*rows.shape[:3], *shape)
        else:
            band = bounds.band(index, relaxation)
            passed, added = _relax(rows, band, owner, sign)
            constants = constants + added
            steepest, tallest = _pick(band.steepest, owner), _pick(band.tallest, owner)
            slack = slack + rounding.added(constants)
            slack = slack + rounding.relaxed(rows[0, 0, 0].numel(), norm, size, steepest, tallest)
        if passed is None:
            continue
        for source in node.inputs:
            if source in pending:
                pending[source] = pending[source] + passed
                slack = slack + rounding.merged(rounding.norm(pending[source]), bounds.picked_size(source, owner))
            else:
                pending[source] = passed
    values = constants.expand(sign.shape[0], *constants.shape[1:])
    if 0 in pending:
        rows = pending[0]
        values = values + bounds.inputs.concretize(rows, sign, owner)
        entries, size = rows[0, 0, 0].numel(), _pick(bounds.inputs.size(), owner)
        slack = slack + rounding.concretized(entries, rounding.norm(rows), size) + rounding.added(values)
    return rounding.outward(values, slack, sign)


def _relax(rows: Tensor, band: _Band, owner: Owner, sign: Tensor) -> tuple[Tensor | None, Tensor]:
    """(rows at the activation's input, constants added); None where all slopes are zero."""
    magnitude = rows.abs()
    added = pair(rows, band.offset[owner]) + sign * pair(magnitude, band.offset_spread[owner])
    if band.slope is None:
        return None, added
    passed = rows * band.slope[owner].unsqueeze(1)
    if band.spread is not None:
        sides = sign.reshape(-1, *(1 for _ in rows.shape[1:]))
        passed = torch.addcmul(passed, magnitude, sides * band.spread[owner].unsqueeze(1))
    return passed, added


def _pair_with_one(rows: Tensor, values: Tensor) -> Tensor:
    """Sums of products (S, G, K) of rows with one tensor (*shape) for all owners."""
    return rows.flatten(3) @ values.flatten()


def _pick(size: Size, owner: Owner) -> Size:
    return size if isinstance(size, float) else size[owner].unsqueeze(1)
