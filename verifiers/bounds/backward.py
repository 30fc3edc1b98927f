"""Backward bound propagation: linear functions of a node as linear functions of the input (CROWN, Theorem 3.2).

Rows a are (S, G, K, *shape): S sides (lower, upper, or both sharing one row while they agree), G groups, each of one
input, of K rows. Through a relaxation with slopes m -+ r and offsets p -+ q (centre and half distance of its two
lines) the row that bounds from below becomes a m - |a| r with constant a p - |a| q, the one from above a m + |a| r and
a p + |a| q. The bias of an affine node before the relaxation is part of p and q. Where all groups are of one input,
neurons of dense layers that are off are left out of rows and weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.elementwise import Elementwise
from verifiers.graph.graph import Node
from verifiers.graph.ops import Add, Input, LinearOp

from .frames import Frame, Patches, Places, local_adjoint
from .relaxations.relu import Relaxation
from .rounding import Size, constant_terms
from .sets.inputs import Owner, pair
from .state import Band, Bounds, Lines


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


@dataclass(frozen=True)
class _Norm:
    """||a||_1 of rows is at most factor * total, (S, G, K)."""

    total: Size
    factor: Size = 1.0


@dataclass
class _Walk:
    """Rows on their way to the input. norms: of pending rows, where they follow from what is known; debts: norms and
    what a unit of each costs."""

    bounds: Bounds
    owner: Owner
    sign: Tensor
    relaxation: Relaxation
    start: Rows
    pending: dict[int, Tensor] = field(default_factory=dict)
    norms: dict[int, _Norm] = field(default_factory=dict)
    debts: list[tuple[Size, Size]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.constants = self.start.constants
        alone = isinstance(self.owner, slice) and self.owner.stop - self.owner.start == 1
        self.sample = self.owner.start if alone and isinstance(self.owner, slice) else None
        self.four_signs = self.sign[..., None]

    def begin(self) -> None:
        index, frame = self.start.index, self._frame(self.start.index)
        self.arrive(index, self._inside(self.start.values, index, frame), None, frame)

    def step(self, index: int) -> None:
        """From node `index` to its inputs."""
        rows, node, norm = self.pending.pop(index), self.bounds.graph.nodes[index], self.norms.pop(index, None)
        if isinstance(node.op, Add):
            for source in node.inputs:
                self.arrive(source, rows, norm, self._frame(index))
        elif isinstance(node.op, LinearOp):
            self._linear(index, node, node.op, rows, norm)
        elif self.sample is not None and self._frame(index) is None and len(node.inputs) == 1:
            lines = self.bounds.lines(index, self.relaxation, self.sample)
            self._by_lines(index, node, rows, lines)
        else:
            self._by_band(index, node, rows, self.bounds.band(index, self.relaxation))

    def arrive(self, source: int, rows: Tensor, norm: _Norm | None = None, frame: Frame | None = None) -> None:
        """Rows at a node, in full or on the windows `frame`; norm: theirs, if known."""
        if frame is not None and self.start.patches is not None and self.start.places is not None:
            rows = self.start.patches.embed(rows, source, frame, self.start.places)
        kept = self.bounds.kept(source, self.relaxation, self.sample)
        self._add(source, rows if kept is None else rows.index_select(-1, kept), norm)

    def _add(self, source: int, rows: Tensor, norm: _Norm | None) -> None:
        if source not in self.pending:
            self.pending[source] = rows
            if norm is not None:
                self.norms[source] = norm
            return
        self.pending[source] = rows = self.pending[source] + rows
        self.norms[source] = norm = _Norm(self.bounds.rounding.norm(rows))
        self._pay(norm, self._price(source, "merged", 0, partial(self._merged, source)))

    def _merged(self, source: int) -> Size:
        return self.bounds.rounding.merged(1.0, self.bounds.size(source))

    def _linear(self, index: int, node: Node, op: LinearOp, rows: Tensor, norm: _Norm | None) -> None:
        bounds, (source,), groups = self.bounds, node.inputs, rows.shape[:3]
        shape = bounds.graph.nodes[source].shape
        if isinstance(op, Reshape | Permute):
            self.arrive(source, op.adjoint(rows.flatten(0, 2), shape).reshape(*groups, *shape), norm)
            return
        norm = _Norm(bounds.rounding.norm(rows)) if norm is None else norm
        price = partial(bounds.rounding.affine, bounds.graph, index, 1.0, bounds.size(source))
        self._pay(norm, self._price(index, "affine", 0, price))
        if op.offset is not None and (index == self.start.index or index not in bounds.folded):
            self.constants = self.constants + rows.flatten(3) @ op.offset.expand(rows.shape[3:]).flatten()
        if self.sample is not None and bounds.kept(index, self.relaxation, self.sample) is not None:
            weight = bounds.reduced(index, self.relaxation, self.sample)
            self._add(source, rows @ weight, None)
            return
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

    def _by_lines(self, index: int, node: Node, rows: Tensor, lines: Lines) -> None:
        """A function of one variable, for one input: its lines are vectors."""
        flat, band = rows.flatten(3), self.bounds.band(index, self.relaxation)
        magnitude = flat.abs()
        (norm,) = self._relaxed(index, node, self._add_constants(flat, magnitude, lines), band, flat.shape[3])
        if lines.slope is None:
            return
        passed = flat * lines.slope
        if lines.slope_spread is not None:
            passed = torch.addcmul(passed, magnitude, self.four_signs * lines.slope_spread)
        if lines.kept is None:
            self.arrive(node.inputs[0], passed.reshape(*passed.shape[:3], *rows.shape[3:]), norm)
        else:
            self._add(node.inputs[0], passed, norm)

    def _add_constants(self, flat: Tensor, magnitude: Tensor, lines: Lines) -> Tensor:
        """Adds a p -+ |a| q to the constants; returns ||a||_1."""
        spread, norm = (magnitude @ lines.spread_and_one).unbind(-1)
        self.constants = torch.addcmul(self.constants + flat @ lines.offset, self.sign, spread)
        return norm

    def _by_band(self, index: int, node: Node, rows: Tensor, band: Band) -> None:
        """Any nonlinear operation, and groups of several inputs."""
        offset, offset_spread, *slopes = self._at(index, self.relaxation.name, band.tensors).unbind(1)
        magnitude = rows.abs()
        self.constants = torch.addcmul(self.constants + pair(rows, offset), self.sign, pair(magnitude, offset_spread))
        norms = self._relaxed(index, node, self.bounds.rounding.total(magnitude), band, rows.shape[3:].numel())
        sides = self.sign.reshape(-1, *(1 for _ in rows.shape[1:]))
        for source, each, norm in zip(node.inputs, band.slopes, norms, strict=True):
            if each.centre is None:
                continue
            passed = rows * slopes.pop(0)[:, None]
            if each.spread is not None:
                passed = torch.addcmul(passed, magnitude, sides * slopes.pop(0)[:, None])
            self.arrive(source, passed, norm, self._frame(index))

    def _relaxed(self, index: int, node: Node, total: Size, band: Band, entries: int) -> list[_Norm]:
        """Pays for the relaxation of rows of this norm; returns norms of the rows at each input."""
        bounds, norms, terms = self.bounds, [], entries + constant_terms(self.bounds.graph)
        for source, slopes in zip(node.inputs, band.slopes, strict=True):
            sizes = bounds.size(source), slopes.steepest, band.tallest
            price = partial(bounds.rounding.relaxed, terms, 1.0, *sizes)
            name = f"{self.relaxation.name} of {source}"
            self._pay(_Norm(total), self._price(index, name, terms, price))
            norms.append(_Norm(total, self._price(index, f"{name}, slopes", 0, partial(_same, slopes.steepest))))
        return norms

    def _frame(self, index: int) -> Frame | None:
        return None if self.start.patches is None else self.start.patches.frames[index]

    def _price(self, index: int, name: str, entries: int, compute: Callable[[], Size]) -> Size:
        """What `compute` says for the owners of the rows: a number for one input, else (G, 1)."""
        if self.sample is not None:
            return self.bounds.price_of(self.sample, index, name, entries, compute)
        size = self.bounds.price(index, name, entries, compute)
        return size if isinstance(size, float) else size[self.owner].unsqueeze(1)

    def _pay(self, norm: _Norm, price: Size) -> None:
        if isinstance(price, float) and price == 0.0:
            return
        price = price if isinstance(norm.factor, float) and norm.factor == 1.0 else price * norm.factor
        if self.debts and self.debts[-1][0] is norm.total:
            price = price + self.debts.pop()[1]
        self.debts.append((norm.total, price))

    def finish(self) -> Tensor:
        bounds, rounding = self.bounds, self.bounds.rounding
        if 0 in self.pending:
            rows = self.pending[0]
            magnitude, norm = rows.abs(), None
            if not bounds.inputs.is_box:
                self.constants = self.constants + bounds.inputs.concretize(rows, self.sign, self.owner)
            elif self.sample is not None:
                lines = bounds.lines(0, self.relaxation, self.sample)
                norm = self._add_constants(rows.flatten(3), magnitude.flatten(3), lines)
            else:
                centre, radius = self._at(0, "box", bounds.box).unbind(1)
                self.constants = torch.addcmul(self.constants + pair(rows, centre), self.sign, pair(magnitude, radius))
            terms = rows.shape[3:].numel() + constant_terms(bounds.graph)
            price = self._price(0, "input", terms, lambda: rounding.concretized(terms, 1.0, bounds.inputs.size()))
            self._pay(_Norm(rounding.total(magnitude) if norm is None else norm), price)
        values, slack = self.constants.expand(self.sign.shape[0], *self.constants.shape[1:]), self.start.slack
        for total, price in self.debts:
            if isinstance(price, float) and isinstance(slack, Tensor):
                slack = torch.add(slack, total, alpha=price)
            else:
                slack = slack + total * price
        return rounding.outward(values, slack, self.sign)

    def _at(self, index: int, name: str, tensors: Tensor) -> Tensor:
        """Tensors (B, N, *shape) of node `index` where the rows are, (G, N, ...)."""
        patches, places = self.start.patches, self.start.places
        if patches is None or places is None or self._frame(index) is None:
            return tensors[self.owner]
        return patches.at((index, name), tensors, places)


def _same(size: Size) -> Size:
    return size
