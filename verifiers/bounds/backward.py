"""Backward bound propagation: linear functions of a node as linear functions of the input (CROWN, Theorem 3.2).

Rows a are (S, G, K, *shape): S sides (lower, upper, or both sharing one row while they agree), G groups, each of one
input, of K rows. Through a relaxation with slopes m -+ r and offsets p -+ q (centre and half distance of its two
lines) the row that bounds from below becomes a m - |a| r with constant a p - |a| q, the one from above a m + |a| r and
a p + |a| q. A ReLU's stable neurons need none of that: where all groups are of one input, only the unstable ones are
computed with, and in dense layers those that are off are left out of the rows and weights altogether.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.graph import Node
from verifiers.graph.ops import Add, Input, LinearOp

from .frames import Frame, Patches, Places, local_adjoint
from .inputs import Owner, pair
from .relaxations import Relaxation
from .rounding import Size, constant_terms
from .state import Band, Bounds, Phases

_FEW = 0.25  # of the neurons are unstable: then computing with these alone is worth moving them around


@dataclass
class Rows:
    """Linear functions of node `index`: values (S, G, K, *shape), constants and slack (S, G, K).

    patches, places: where the rows are kept on windows; then shape is (C, h, w), those of node `index`.
    """

    index: int
    values: Tensor
    constants: Tensor
    slack: Size = 0.0
    patches: Patches | None = None
    places: Places | None = None


def substitute(bounds: Bounds, start: Rows, owner: Owner, sign: Tensor, relaxation: Relaxation) -> Tensor:
    """Bounds (S, G, K) of the functions `start` over the input set.

    sign: (S, 1, 1), -1 for a lower bound and +1 for an upper one.
    Raises `Unsupported` for an operation without a relaxation.
    """
    walk = _Walk(bounds, owner, sign, relaxation, start)
    walk.begin()
    for index in range(start.index, 0, -1):
        if index in walk.pending:
            walk.step(index)
    return walk.finish()


@dataclass
class _Walk:
    """Rows on their way to the input. norms: of pending rows, where they follow from what is known."""

    bounds: Bounds
    owner: Owner
    sign: Tensor
    relaxation: Relaxation
    start: Rows
    pending: dict[int, Tensor] = field(default_factory=dict)
    norms: dict[int, Size] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants, self.slack = self.start.constants, self.start.slack
        alone = isinstance(self.owner, slice) and self.owner.stop - self.owner.start == 1
        self.sample = self.owner.start if alone and isinstance(self.owner, slice) else None

    def begin(self) -> None:
        index, frame = self.start.index, self._frame(self.start.index)
        self.arrive(index, self._inside(self.start.values, index, frame), None, frame)

    def step(self, index: int) -> None:
        """From node `index` to its inputs."""
        rows, node, rounding = self.pending.pop(index), self.bounds.graph.nodes[index], self.bounds.rounding
        norm = self.norms.pop(index, None)
        norm = rounding.norm(rows) if norm is None else norm
        if isinstance(node.op, Add):
            for source in node.inputs:
                self.arrive(source, rows, norm, self._frame(index))
        elif isinstance(node.op, LinearOp):
            self._linear(index, node, node.op, rows, norm)
        elif self.bounds.kept(index, self.relaxation, self.sample) is not None:
            self._reduced_relu(index, node, rows, norm)
        else:
            self._relax(index, node, rows, norm)

    def arrive(self, source: int, rows: Tensor, norm: Size | None = None, frame: Frame | None = None) -> None:
        """Rows at a node, in full or on the windows `frame`; norm: theirs, if known."""
        if frame is not None and self.start.patches is not None and self.start.places is not None:
            rows = self.start.patches.embed(rows, source, frame, self.start.places)
        kept = self.bounds.kept(source, self.relaxation, self.sample)
        self._add(source, rows if kept is None else rows.index_select(-1, kept), norm)

    def _add(self, source: int, rows: Tensor, norm: Size | None) -> None:
        if source not in self.pending:
            self.pending[source] = rows
            if norm is not None:
                self.norms[source] = norm
            return
        self.pending[source] = rows = self.pending[source] + rows
        self.norms[source] = norm = self.bounds.rounding.norm(rows)
        self._pay(norm, self.bounds.rounding.merged(1.0, self.bounds.size(source)))

    def _linear(self, index: int, node: Node, op: LinearOp, rows: Tensor, norm: Size) -> None:
        bounds, (source,), groups = self.bounds, node.inputs, rows.shape[:3]
        shape = bounds.graph.nodes[source].shape
        if isinstance(op, (Reshape, Permute)):
            self.arrive(source, op.adjoint(rows.flatten(0, 2), shape).reshape(*groups, *shape), norm)
            return
        price = partial(bounds.rounding.affine, bounds.graph, index, 1.0, bounds.size(source))
        self._pay(norm, bounds.price(index, "affine", 0, price))
        if bounds.kept(index, self.relaxation, self.sample) is not None and self.sample is not None:
            op = bounds.reduced(index, self.relaxation, self.sample)
            if op.offset is not None:
                self.constants = self.constants + rows @ op.offset
            self._add(source, op.adjoint(rows, ()), None)
            return
        if op.offset is not None:
            self.constants = self.constants + rows.flatten(3) @ op.offset.expand(rows.shape[3:]).flatten()
        frame = self._frame(index)
        if frame is None:
            self.arrive(source, op.adjoint(rows.flatten(0, 2), shape).reshape(*groups, *shape))
            return
        frame = frame.below(op)
        passed = local_adjoint(op, rows.flatten(0, 2), shape[0], frame).reshape(*groups, shape[0], *frame.size)
        self.arrive(source, self._inside(passed, source, frame), None, frame)

    def _inside(self, rows: Tensor, index: int, frame: Frame | None) -> Tensor:
        """Rows on the windows `frame` of node `index`, zero beyond the edge where that is not seen to anyway: the
        slopes of nonlinear operations are zero there, and the input set is."""
        patches, places = self.start.patches, self.start.places
        seen_to = isinstance(self.bounds.graph.nodes[index].op, Elementwise | Input)
        if frame is None or patches is None or places is None or seen_to:
            return rows
        inside = patches.inside(index, frame, rows, places)
        return rows if inside is None else rows * inside

    def _reduced_relu(self, index: int, node: Node, rows: Tensor, norm: Size) -> None:
        """Unstable neurons come first, the others of the rows pass unchanged."""
        assert self.sample is not None
        phases = self.bounds.phases(index, self.relaxation, self.sample)
        count = len(phases.unstable)
        passed = self._through(rows[..., :count], phases)
        active = rows[..., count:]
        joined = torch.cat([passed, active.expand(*passed.shape[:3], -1)], dim=-1)
        self._add(node.inputs[0], joined, self._relaxed(index, node, rows, norm, self._band(index))[0])

    def _relax(self, index: int, node: Node, rows: Tensor, norm: Size) -> None:
        band = self._band(index)
        norms = self._relaxed(index, node, rows, norm, band)
        if isinstance(node.op, Relu) and self.sample is not None and not self.relaxation.flat:
            phases = self.bounds.phases(index, self.relaxation, self.sample)
            if len(phases.unstable) <= _FEW * len(phases.active) and self._frame(index) is None:
                flat = rows.flatten(3)
                passed = self._through(flat.index_select(-1, phases.unstable), phases)
                stable = (flat * phases.active).expand(*passed.shape[:3], -1)
                changed = stable.index_copy(-1, phases.unstable, passed)
                self.arrive(node.inputs[0], changed.reshape(*changed.shape[:3], *rows.shape[3:]), norms[0])
                return
        self._by_band(index, node, rows, band, norms)

    def _by_band(self, index: int, node: Node, rows: Tensor, band: Band, norms: list[Size]) -> None:
        """Any nonlinear operation, and groups of several inputs."""
        patches, places = self.start.patches, self.start.places
        if patches is not None and places is not None and self._frame(index) is not None:
            parts = list(patches.at((index, "band"), band.tensors, places).unbind(1))
        else:
            parts = list(band.tensors[self.owner].unbind(1))
        offset, offset_spread, *slopes = parts
        magnitude = rows.abs()
        self.constants = self.constants + (pair(rows, offset) + self.sign * pair(magnitude, offset_spread))
        sides = self.sign.reshape(-1, *(1 for _ in rows.shape[1:]))
        for source, each, norm in zip(node.inputs, band.slopes, norms, strict=True):
            if each.centre is None:
                continue
            passed = rows * slopes.pop(0)[:, None]
            if each.spread is not None:
                passed = torch.addcmul(passed, magnitude, sides * slopes.pop(0)[:, None])
            self.arrive(source, passed, norm, self._frame(index))

    def _through(self, rows: Tensor, lines: Phases) -> Tensor:
        """Rows (S, 1, K, U) of unstable neurons below their lines; adds to the constants."""
        magnitude = rows.abs()
        self.constants = self.constants + (rows @ lines.offset + self.sign * (magnitude @ lines.offset_spread))
        if lines.slope_spread is None:
            return rows * lines.slope
        return torch.addcmul(rows * lines.slope, magnitude, self.sign[..., None] * lines.slope_spread)

    def _relaxed(self, index: int, node: Node, rows: Tensor, norm: Size, band: Band) -> list[Size]:
        """Pays for the relaxation; returns norms of the rows at each input."""
        bounds, entries = self.bounds, self._terms(rows)
        norms = []
        for source, slopes in zip(node.inputs, band.slopes, strict=True):
            sizes = bounds.size(source), slopes.steepest, band.tallest
            price = partial(bounds.rounding.relaxed, entries, 1.0, *sizes)
            self._pay(norm, bounds.price(index, f"{self.relaxation.name} of {source}", entries, price))
            norms.append(bounds.rounding.scaled(norm, self._pick(slopes.steepest)))
        return norms

    def _terms(self, rows: Tensor) -> int:
        """The most terms of a constant that these rows add to."""
        return rows.shape[3:].numel() + constant_terms(self.bounds.graph)

    def _band(self, index: int) -> Band:
        return self.bounds.band(index, self.relaxation)

    def _frame(self, index: int) -> Frame | None:
        return None if self.start.patches is None else self.start.patches.frames[index]

    def _pay(self, norm: Size, price: Size) -> None:
        self.slack = self.slack + norm * self._pick(price)

    def _pick(self, size: Size) -> Size:
        return size if isinstance(size, float) else size[self.owner].unsqueeze(1)

    def finish(self) -> Tensor:
        bounds, constants = self.bounds, self.constants
        values = constants.expand(self.sign.shape[0], *constants.shape[1:])
        if 0 in self.pending:
            rows = self.pending[0]
            values = values + self._concretize(rows)
            entries = self._terms(rows)
            price = partial(bounds.rounding.concretized, entries, 1.0, bounds.inputs.size())
            self._pay(bounds.rounding.norm(rows), bounds.price(0, "input", entries, price))
        return bounds.rounding.outward(values, self.slack, self.sign)

    def _concretize(self, rows: Tensor) -> Tensor:
        patches, places = self.start.patches, self.start.places
        if patches is None or places is None or self._frame(0) is None:
            return self.bounds.inputs.concretize(rows, self.sign, self.owner)
        lower, upper = self.bounds.intervals[0]
        box = torch.stack([(lower + upper) / 2, (upper - lower) / 2], dim=1)
        centre, radius = patches.at((0, "box"), box, places).unbind(1)
        return pair(rows, centre) + self.sign * pair(rows.abs(), radius)
