"""Checks proofs of input splitting, with arithmetic of its own: numpy, float64, every error counted.

A proof claims that rows @ f(x) + offsets > 0 for every x of a box, for a network f of affine maps, sums and ReLUs. It
consists of
- a binary tree of boxes: node 0 is the whole box; split s cuts node `split_node[s]`, one of 0 .. 2 s, across
  coordinate `split_input[s]` at `split_cut[s]`, into the nodes 2 s + 1 (up to the cut) and 2 s + 2 (from it on);
- what is shown where: row `proved_row[p]` in node `proved_node[p]`, with the lower slopes `slopes{k}[i]` / 255 of the
  k-th ReLU, where i = `proved_slopes[p]`, or with CROWN's if i is -1.
Nothing in it is trusted: boxes are cut here, from the whole one on; slopes are clipped to [0, 1]; bounds of neurons are
computed here, in every node, by CROWN for those that its parent leaves unstable; and on the way to each node that is
not split, every row must be shown. Nodes are taken in batches, children after their parents.

Arithmetic: as `check_splits`, a box for each row. Sizes Z >= |z| hold on the whole box. Through a matrix z = W h + b,
rows a become a W with constant a b, which errs by less than |a| E, E = gamma (|W| H + |b|) and what the data are off.
Through ReLU lines, slopes in [0, 1] and offsets of at most Z (1 + 8 u), it errs by less than |a| E, E = 3 gamma Z;
entries do not grow there, so that the E of a matrix below that serves only this ReLU can be added to its own. All
errors are added up and taken off the bound, with one percent for the rounding of the errors themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import TINY, UNIT, Array, Checked, Refused, affine_range, gamma, relu_lines, step_range

if TYPE_CHECKING:
    from .steps import Step

FORMAT = "sokbench-box-proof-1"
_BOXES = 512  # at once
_CACHE = 1 << 16  # entries of the rows on their way, which are to stay in the cache
Sides = tuple[Array, Array]
Lines = tuple[Array, Array, Array]  # of a ReLU: slopes below, slopes above, offsets above
LinesAt = Callable[[int], Lines]


@dataclass(frozen=True)
class _Boxes:
    """D boxes. node (D,); low, high (D, n); unshown (D, K): rows not shown on the way to the node; bounds: of the input
    of each ReLU (D, w)."""

    node: Array
    low: Array
    high: Array
    unshown: Array
    bounds: list[Sides]

    def take(self, some: Array) -> _Boxes:
        bounds = [(low[some], high[some]) for low, high in self.bounds]
        return _Boxes(self.node[some], self.low[some], self.high[some], self.unshown[some], bounds)

    def join(self, other: _Boxes) -> _Boxes:
        low, high = np.concatenate([self.low, other.low]), np.concatenate([self.high, other.high])
        both = zip(self.bounds, other.bounds, strict=True)
        bounds = [(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in both]
        node, unshown = np.concatenate([self.node, other.node]), np.concatenate([self.unshown, other.unshown])
        return _Boxes(node, low, high, unshown, bounds)


class BoxChecker:
    """steps: the network; proof: the arrays."""

    def __init__(self, steps: Sequence[Step], proof: Mapping[str, Array]) -> None:
        if str(proof["format"]) != FORMAT:
            raise Refused(f"the format is {proof['format']}, not {FORMAT}")
        self._low, self._high = proof["lower"].astype(float), proof["upper"].astype(float)
        self._rows, self._offsets = proof["rows"].astype(float), proof["offsets"].astype(float)
        shapes = [self._low.shape, self._high.shape, self._offsets.shape, self._rows.shape]
        wanted = [(steps[0].width,)] * 2 + [(len(self._rows),), (len(self._rows), steps[-1].width)]
        if shapes != wanted or not ((-np.inf < self._low) & (self._low <= self._high) & (self._high < np.inf)).all():
            raise Refused("inputs or rows do not fit the network")
        if any(not (step.is_relu or step.matrix or len(step.sources) == 2) for step in steps[1:]):
            raise Refused("proofs of input splitting know affine maps, ReLUs and sums")
        self._steps, self._relus = steps, [index for index, step in enumerate(steps) if step.is_relu]
        self._at_once = max(1, _CACHE // max(step.width for step in steps))
        self._sizes: list[Array] = []  # Z of the steps so far
        self._errors: list[Array] = []  # E of each step
        self._charged: list[Array | None] = []  # E where rows pay for it
        self._read_tree(proof)
        self._read_shown(proof)

    def _read_tree(self, proof: Mapping[str, Array]) -> None:
        node, self._input = _whole(proof["split_node"]), _whole(proof["split_input"])
        self._cut, splits = proof["split_cut"].astype(float), len(node)
        if not self._input.shape == self._cut.shape == node.shape:
            raise Refused("a split is incomplete")
        if not ((node >= 0) & (node <= 2 * np.arange(splits))).all() or len(np.unique(node)) != splits:
            raise Refused("a node is split twice, or before there is one")
        if not ((self._input >= 0) & (self._input < len(self._low))).all():
            raise Refused("a split cuts no input of the network")
        self._split = np.full(2 * splits + 1, -1)  # by node
        self._split[node] = np.arange(splits)

    def _read_shown(self, proof: Mapping[str, Array]) -> None:
        node, row, number = (_whole(proof[f"proved_{name}"]) for name in ("node", "row", "slopes"))
        # the last row stands for -1
        self._slopes = [np.pad(proof[f"slopes{k}"], ((0, 1), (0, 0))) for k in range(len(self._relus))]
        fits = (node >= 0) & (node < len(self._split)) & (row >= 0) & (row < len(self._rows)) & (number >= -1)
        if not fits.all():
            raise Refused("what is shown is no row, or in no node")
        order = np.argsort(node, kind="stable")
        self._row, self._number = row[order], number[order]
        self._first = np.searchsorted(node[order], np.arange(len(self._split) + 1))  # by node

    def check(self) -> Checked:
        """Raises `Refused`, or what numpy raises of arrays that make no sense."""
        pending, margin = [self._root()], np.inf
        while pending:
            some = pending.pop()
            while pending and len(some.node) < _BOXES:
                some = some.join(pending.pop())
            margin = min(margin, self._show(some, self._tighten(some)))
            ends = self._split[some.node] < 0
            if some.unshown[ends].any():
                raise Refused(f"rows are not shown in node {some.node[ends & some.unshown.any(axis=1)][0]}, not split")
            if not ends.all():
                pending.append(self._halves(some.take(~ends)))
        return Checked(float(margin), len(self._split), len(self._split) // 2 + 1)

    def _halves(self, boxes: _Boxes) -> _Boxes:
        split, here = self._split[boxes.node], np.arange(len(boxes.node))
        column, cut = self._input[split], self._cut[split]
        if not ((boxes.low[here, column] <= cut) & (cut <= boxes.high[here, column])).all():
            raise Refused("a cut is not in its box")
        twice = boxes.take(np.tile(here, 2))
        twice.high[here, column] = twice.low[len(here) + here, column] = cut
        node = np.concatenate([2 * split + 1, 2 * split + 2])
        return _Boxes(node, twice.low, twice.high, twice.unshown, twice.bounds)

    def _root(self) -> _Boxes:
        """The whole box, with bounds of neurons; finds sizes and errors on the way."""
        uses = Counter(source for step in self._steps for source in step.sources)
        unshown = np.ones((1, len(self._rows)), dtype=bool)
        root = _Boxes(np.zeros(1, dtype=int), self._low[None], self._high[None], unshown, [])
        values: list[Sides] = []
        lines: dict[int, Lines] = {}
        for index, step in enumerate(self._steps):
            sources = [values[source] for source in step.sources]
            values.append(step_range(step, sources) if index else (root.low.copy(), root.high.copy()))
            self._errors.append(self._error(step))
            self._charged.append(self._errors[-1])
            if step.is_relu:
                (source,) = step.sources
                if self._steps[source].matrix is not None and uses[source] == 1:
                    self._charged[index], self._charged[source] = self._errors[source] + self._errors[index], None
                root.bounds.append(values[source])
                lines[index] = _crown(*values[source])
            elif any(self._steps[relu].sources == (index,) for relu in self._relus):
                self._improve(root, index, values[index], lines)
            self._sizes.append(np.maximum(np.abs(values[index][0]), np.abs(values[index][1]))[0])
        return root

    def _error(self, step: Step) -> Array:
        if not (step.is_relu or step.matrix):
            return np.zeros(step.width)
        size = self._sizes[step.sources[0]]
        if step.matrix is None:
            return 3 * gamma(step.width + 8) * (size + TINY)
        own = gamma(step.matrix.terms) * (step.matrix.magnitude @ size) + gamma(step.width) * np.abs(step.matrix.bias)
        return np.asarray(own + step.matrix.data_error(size))

    def _tighten(self, boxes: _Boxes) -> dict[int, Lines]:
        """Improve the bounds of boxes; returns CROWN's lines there (D, w)."""
        lines: dict[int, Lines] = {}
        for relu, bounds in zip(self._relus, boxes.bounds, strict=True):
            self._improve(boxes, self._steps[relu].sources[0], bounds, lines)
            lines[relu] = _crown(*bounds)
        return lines

    def _improve(self, boxes: _Boxes, index: int, bounds: Sides, lines: Mapping[int, Lines]) -> None:
        """Improve `bounds` (D, w) of step `index` in place."""
        low, high = bounds
        step = self._steps[index]
        if step.matrix is not None and step.sources == (0,):  # intervals are exact there
            least, most = affine_range(step.matrix, boxes.low, boxes.high)
            np.maximum(low, least, out=low)
            np.minimum(high, most, out=high)
            return
        for owner, entry in self._pieces(*np.nonzero((low < 0) & (high > 0))):
            given = _of(lines, owner)
            found = self._below(*self._unit(index, entry), given, boxes.low[owner], boxes.high[owner])
            low[owner, entry] = np.maximum(low[owner, entry], found[0])
            high[owner, entry] = np.minimum(high[owner, entry], -found[1])

    def _show(self, boxes: _Boxes, lines: Mapping[int, Lines]) -> float:
        """The least bound of what is shown in some boxes; raises `Refused` unless all are positive."""
        count = self._first[boxes.node + 1] - self._first[boxes.node]
        owners = np.repeat(np.arange(len(count)), count)
        which = np.arange(len(owners)) + np.repeat(self._first[boxes.node] - np.cumsum(count) + count, count)
        least = np.inf
        for owner, some in self._pieces(owners, which):
            row, number = self._row[some], self._number[some]
            given = self._chosen(boxes, owner, number)
            start = self._rows[row][None], self._offsets[row][None], np.zeros((1, len(row)))
            (found,) = self._below(len(self._steps) - 1, *start, given, boxes.low[owner], boxes.high[owner])
            worst = int(found.argmin())
            if not found[worst] > 0:
                raise Refused(f"row {row[worst]} in node {boxes.node[owner[worst]]}: the bound is {found[worst]:.6g}")
            boxes.unshown[owner, row] = False
            least = min(least, float(found[worst]))
        return least

    def _chosen(self, boxes: _Boxes, owner: Array, number: Array) -> LinesAt:
        """With the slopes of the proof."""

        def lines(relu: int) -> Lines:
            k = self._relus.index(relu)
            low, high = (side[owner] for side in boxes.bounds[k])
            return relu_lines(low, high, np.where(number[:, None] < 0, high >= -low, self._slopes[k][number] / 255))

        return lines

    def _pieces(self, owner: Array, which: Array) -> Iterator[Sides]:
        for begin in range(0, len(owner), self._at_once):
            yield owner[begin : begin + self._at_once], which[begin : begin + self._at_once]

    def _unit(self, index: int, entry: Array) -> tuple[int, Array, Array, Array]:
        """(step, rows (2, R, w) of it, constants, slack) that stand for z_j and -z_j, j in `entry` (R,), of `index`."""
        step = self._steps[index]
        if step.matrix is None:
            rows = np.zeros((len(entry), step.width))
            rows[np.arange(len(entry)), entry] = 1.0
            return index, np.stack([rows, -rows]), np.zeros((2, len(entry))), np.zeros((2, len(entry)))
        rows, constants = step.matrix.weight[entry], step.matrix.bias[entry]
        rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
        slack = np.tile(self._errors[index][entry], (2, 1))
        return step.sources[0], np.stack([rows, -rows]), np.stack([constants, -constants]), slack

    def _below(
        self, index: int, rows: Array, constants: Array, slack: Array, lines: LinesAt, low: Array, high: Array
    ) -> Array:
        """Lower bounds (S, R) of rows @ z + constants - slack on boxes [low, high] (R, n): rows (S, R, w), z the value
        of step `index`."""
        pending = {index: rows}
        for place in range(index, 0, -1):
            if place not in pending:
                continue
            rows, step, error = pending.pop(place), self._steps[place], self._charged[place]
            if error is not None:
                slack = slack + np.abs(rows) @ error
            if step.is_relu:
                slope, chord, offset = lines(place)
                below = np.minimum(rows, 0.0)
                constants = constants + np.einsum("srw,rw->sr", below, offset)
                rows = (rows - below) * slope + below * chord  # one of the two is zero
            elif step.matrix is not None:
                constants = constants + rows @ step.matrix.bias
                flat = rows.reshape(-1, step.width) @ step.matrix.weight
                rows = np.asarray(flat).reshape(*rows.shape[:2], -1)
            slack = slack + 4 * UNIT * np.abs(constants)
            for source in step.sources:
                if source in pending:
                    pending[source] = pending[source] + rows
                    slack = slack + 4 * UNIT * (np.abs(pending[source]) @ self._sizes[source])
                else:
                    pending[source] = rows
        rows = pending.get(0, np.zeros((*constants.shape, len(self._low))))
        least = (np.maximum(rows, 0.0) * low + np.minimum(rows, 0.0) * high).sum(axis=2)
        size = np.maximum(np.abs(self._low), np.abs(self._high))
        error = slack + gamma(len(size) + 8) * (np.abs(rows) @ size) + 8 * UNIT * (np.abs(constants) + np.abs(least))
        bound = least + constants - 1.01 * error - TINY
        return np.where(np.isfinite(bound), bound, -np.inf)


def _crown(lower: Array, upper: Array) -> Lines:
    return relu_lines(lower, upper, upper >= -lower)


def _of(lines: Mapping[int, Lines], owner: Array) -> LinesAt:
    """Of the boxes that rows belong to."""

    def gathered(relu: int) -> Lines:
        slope, chord, offset = lines[relu]
        return slope.take(owner, axis=0), chord.take(owner, axis=0), offset.take(owner, axis=0)

    return gathered


def _whole(numbers: Array) -> Array:
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise Refused("a list of whole numbers is none")
    return numbers.astype(np.int64)
