"""Checks proofs of branch and bound, with arithmetic of its own: numpy, float64, every error counted.

A proof claims that rows @ f(x) + offsets > 0 for every x of a box, or of the part of it in an l1 ball, for a network f
of affine maps, sums, ReLUs and smooth activations. It consists of
- columns: a neuron of an activation and a cut c, 0 for ReLUs; to split it is to take z <= c on one side, z >= c on the
  other, where z is the activation's input;
- states: sets of splits, each one more than its parent's, with slopes and multipliers that show tighter bounds of
  pre-activations there;
- leaves: for a state and a row, further splits and the multipliers that show the row positive on that part.
Where these say nothing of slopes the `usual` ones are taken: CROWN's, of lines below and (not for ReLUs) above.
Nothing in it is trusted: offsets of lines are computed here from any slopes (lower ones of ReLUs, those of the line
that a row takes at other activations), a multiplier g of a neuron in [l, u] adds g z - max(g l, g u) <= 0, and the
leaves of a row must cover everything: both sides of every split, at the same cut.

Arithmetic. Through a matrix z = W h + b, rows a become a W with constant a b. In float64 that errs by less than
gamma |a| (|W| H + |b|), gamma = 2 (n + 8) 2^-53 for sums of n products, H >= |h|; data that were themselves rounded
may be off by `weight_error`, `bias_error`. Through ReLU lines the error is below gamma |a| (Z + t), others:
`curves`. All errors are added up and taken off the bound, with one percent for the rounding of the errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import TINY, UNIT, Array, Checked, Refused, gamma, step_range
from .rows import Given, Rows, through_activation, through_matrix

if TYPE_CHECKING:
    from .steps import Step

Path = tuple[int, ...]
Interval = tuple[Array, Array]  # of an activation's inputs, both (R or 1, n)
FORMAT = "sokbench-proof-3"
_CHUNK = 1 << 22  # entries of a tensor of multipliers


@dataclass
class _Part:
    """Bounds (n,) of all steps where some splits hold."""

    lower: list[Array]
    upper: list[Array]

    def size(self, step: int) -> Array:
        return np.maximum(np.abs(self.lower[step]), np.abs(self.upper[step]))


class Checker:
    """steps: the network; proof: the arrays."""

    def __init__(self, steps: Sequence[Step], proof: Mapping[str, Array]) -> None:
        if str(proof["format"]) != FORMAT:
            raise Refused(f"the format is {proof['format']}, not {FORMAT}")
        self._steps, self._proof = steps, proof
        self._low, self._high = proof["lower"].astype(float), proof["upper"].astype(float)
        self._rows, self._offsets = proof["rows"].astype(float), proof["offsets"].astype(float)
        self._ball = (proof["centre"].astype(float), float(proof["radius"])) if "radius" in proof else None
        centre, radius = self._ball or (self._low, 0.0)
        inside = radius >= 0 and ((self._low <= centre) & (centre <= self._high)).all()
        shapes = {self._low.shape, self._high.shape, centre.shape}, self._offsets.shape, self._rows.shape
        if shapes != ({(steps[0].width,)}, (len(self._rows),), (len(self._rows), steps[-1].width)) or not inside:
            raise Refused("inputs or rows do not fit the network")
        self._layers = [index for index, step in enumerate(steps) if step.is_relu or step.curve]
        widths = [steps[index].width for index in self._layers]
        self._columns = list(
            zip(*(proof[f"columns_{part}"].tolist() for part in ("layer", "neuron", "cut")), strict=True)
        )
        if any(not (0 <= j < widths[k] and np.isfinite(cut)) for k, j, cut in self._columns):
            raise Refused("a column stands for no neuron of the network")
        self._at_once = max(1, _CHUNK // (1 + sum(widths)))

    def check(self) -> Checked:
        """Raises `Refused`, or what numpy raises of arrays that make no sense."""
        states, leaf_paths = dict(enumerate(self._paths("state"))), self._paths("leaf")
        of_state, targets = self._proof["leaf_state"], self._proof["leaf_target"]
        tree: dict[int, list[Path]] = defaultdict(list)
        for state, target, path in zip(of_state.tolist(), targets.tolist(), leaf_paths, strict=True):
            tree[target].append(states[state] + path)
        for target in range(len(self._rows)):
            if not _complete(tree[target]):
                raise Refused(f"row {target} is not covered by leaves")
        margin, parts = np.inf, dict[Path, _Part]()
        for number, path in sorted(states.items(), key=lambda state: len(state[1])):
            parts[path] = self._state(path, number, parts)
            for some in _pieces(np.flatnonzero(of_state == number), self._at_once):
                margin = min(margin, self._leaves(parts[path], some, leaf_paths))
        return Checked(float(margin), len(states), len(leaf_paths))

    def _state(self, path: Path, number: int, parts: dict[Path, _Part]) -> _Part:
        """Bounds of a state: its parent's, its split, and what its multipliers add, step by step."""
        if path:
            part = _Part(*([values.copy() for values in side] for side in vars(parts[path[:-1]]).values()))
            self._cut(self._intervals(part), path[-1])
        else:
            part = _Part([self._low], [self._high])
        for index in range(len(self._steps)):
            if index and not path:
                step = self._steps[index]
                low, high = step_range(step, [(part.lower[i], part.upper[i]) for i in step.sources])
                part.lower.append(low)
                part.upper.append(high)
            known = not index or (self._ball is None and self._steps[index].is_exact)
            for k, layer in enumerate(() if known else self._layers):
                if self._steps[layer].sources == (index,):
                    self._improve(part, index, f"state{number}_layer{k}", bool(self._steps[layer].curve), not path)
        return part

    def _paths(self, owner: str) -> list[Path]:
        flat, ends = self._proof[f"{owner}_paths"], self._proof[f"{owner}_ends"]
        return [tuple(part.tolist()) for part in np.split(flat, ends)[:-1]]

    def _intervals(self, part: _Part) -> list[Interval]:
        """Of the inputs of all activations, (n,); of those whose bounds are known, while these are computed."""
        known = [layer for layer in self._layers if layer < len(part.lower)]
        sources = [source for layer in known for source in self._steps[layer].sources]
        return [(part.lower[source], part.upper[source]) for source in sources]

    def _cut(self, intervals: list[Interval], split: int) -> None:
        """Take one side of a column, positive: the lower one."""
        if not 1 <= abs(split) <= len(self._columns):
            raise Refused(f"the split {split} is no column")
        layer, neuron, cut = self._columns[abs(split) - 1]
        lower, upper = intervals[layer]
        if split > 0:
            upper[neuron] = min(upper[neuron], cut)
        else:
            lower[neuron] = max(lower[neuron], cut)

    def _improve(self, part: _Part, index: int, name: str, smooth: bool, first: bool) -> None:
        """The bounds that multipliers `name` show of step `index`, the input of a ReLU or a `smooth` activation; at the
        `first` state also those of the usual slopes."""
        lower, upper = part.lower[index], part.upper[index]
        given = self._proof.get(f"{name}_entries", np.zeros(0)).astype(int)
        if not ((given >= 0) & (given < len(lower))).all():
            raise Refused(f"{name} is about neurons that the network has not")
        likely = np.where(lower + upper > 0, 1.0, -1.0)
        for sign in (likely, -likely) if first else ():  # no need for the other side of what the first shows stable
            unstable = np.flatnonzero(((lower < 0) & (upper > 0)) | smooth)
            self._raise(part, index, unstable, sign[unstable], None)
        self._raise(part, index, np.tile(given, 2), np.repeat([1.0, -1.0], len(given)), name)

    def _raise(self, part: _Part, index: int, entries: Array, signs: Array, name: str | None) -> None:
        """Lower bounds of entries of step `index` where the sign is +1, upper ones where it is -1."""
        for some in _pieces(np.arange(len(entries)), self._at_once):
            rows = Rows.units(entries[some], signs[some], self._steps[index].width)
            given = self._given(part, name, some, self._intervals(part))
            found = self._below(rows, np.zeros(len(some)), index, part, given)
            for side, best, sign in ((part.lower[index], np.maximum, 1.0), (part.upper[index], np.minimum, -1.0)):
                mine = some[signs[some] == sign]
                side[entries[mine]] = best(side[entries[mine]], sign * found[signs[some] == sign])

    def _given(self, part: _Part, name: str | None, rows: Array, intervals: list[Interval]) -> list[Given]:
        """The multipliers `name` of some of its rows; the usual slopes and none where it says nothing."""
        found = []
        for k, (lower, upper) in enumerate(intervals):
            step, neurons = self._steps[self._layers[k]], self._proof[f"neurons{k}"]
            usual = self._proof[f"usual{k}"].astype(float)
            if usual.shape != (2 if step.curve else 1, step.width):
                raise Refused(f"usual{k} does not fit the network")
            slopes, multipliers = (self._proof.get(f"{name}_{kind}{k}") for kind in ("slopes", "gammas"))
            sides = [_filled(side, slopes, rows, neurons) for side in usual[:, None]]
            gammas = _filled(np.zeros((1, step.width)), multipliers, rows, neurons)
            found.append(Given(sides, gammas, np.atleast_2d(lower), np.atleast_2d(upper)))
        return found

    def _leaves(self, part: _Part, chosen: Array, paths: list[Path]) -> float:
        """Least bound of some leaves of a state; raises `Refused` unless all are positive."""
        intervals = [
            (low[None].repeat(len(chosen), 0), up[None].repeat(len(chosen), 0)) for low, up in self._intervals(part)
        ]
        for place, leaf in enumerate(chosen.tolist()):
            for split in paths[leaf]:
                self._cut([(low[place], up[place]) for low, up in intervals], split)
        targets = self._proof["leaf_target"][chosen]
        given = self._given(part, "leaf", chosen, intervals)
        rows = Rows.full(self._rows[targets])
        found = self._below(rows, self._offsets[targets], len(self._steps) - 1, part, given)
        worst = int(found.argmin())
        if not found[worst] > 0:
            raise Refused(f"leaf {int(chosen[worst])} of row {int(targets[worst])}: the bound is {found[worst]:.6g}")
        return float(found[worst])

    def _below(self, rows: Rows, constants: Array, index: int, part: _Part, given: list[Given]) -> Array:
        """Lower bounds (R,) of rows @ z + constants, z the value of step `index`."""
        pending, slack = {index: rows}, np.zeros(len(constants))
        for place in range(index, 0, -1):
            if place not in pending:
                continue
            rows, step = pending.pop(place), self._steps[place]
            if len(step.sources) == 1:
                size = part.size(step.sources[0])
                if step.matrix is None:
                    rows, added, error = through_activation(rows, step, given[self._layers.index(place)], size)
                else:
                    rows, added, error = through_matrix(rows, step.matrix, size)
                constants = constants + added
                slack += error + 4 * UNIT * np.abs(constants)
            for source in step.sources:
                if source in pending:
                    pending[source], error = pending[source].plus(rows, part.size(source))
                    slack += error
                else:
                    pending[source] = rows
        least, error = self._least(pending.get(0, Rows.full(np.zeros((len(constants), len(self._low))))))
        error = slack + error + 8 * UNIT * (np.abs(constants) + np.abs(least))
        bound = least + constants - 1.01 * error - TINY
        return np.where(np.isfinite(bound), bound, -np.inf)

    def _least(self, pulled: Rows) -> tuple[Array, Array]:
        """(min of rows @ x over the inputs or less, its error)."""
        rows, low, high = pulled.values, pulled.pick(self._low), pulled.pick(self._high)
        size, relative = np.maximum(np.abs(low), np.abs(high)), gamma(rows.shape[1] + 8)
        least = np.maximum(rows, 0.0) @ low + np.minimum(rows, 0.0) @ high
        error = relative * (np.abs(rows) @ size)
        if self._ball is None:
            return least, error
        # Moving coordinate i by d_i gains |a_i| d_i, of which the ball pays min(|a_i|, t) d_i: at most t radius in
        # all, for any t >= 0. Best is the entry at which the larger ones have spent the radius (fractional knapsack).
        centre, radius = pulled.pick(self._ball[0]), self._ball[1]
        room = np.where(rows > 0, centre - low, high - centre) * (1 + 4 * UNIT)
        order = np.argsort(-np.abs(rows), axis=1)
        entries = np.take_along_axis(np.abs(rows), order, axis=1)
        spent = np.cumsum(np.take_along_axis(room, order, axis=1), axis=1) >= radius
        price = np.where(spent, entries, 0.0).max(axis=1)
        gain = price * radius + (np.maximum(np.abs(rows) - price[:, None], 0.0) * room).sum(axis=1)
        inside = rows @ centre - gain
        error = error + relative * ((np.abs(rows) * (np.abs(centre) + room)).sum(axis=1) + price * radius)
        return np.maximum(least, inside), error


def _filled(base: Array, values: Array | None, rows: Array, neurons: Array) -> Array:
    """`base` (1, n) where nothing is given, else for each of the rows its values at these neurons."""
    if values is None:
        return base
    dense = base.repeat(len(rows), axis=0)
    dense[:, neurons] = values[rows]
    return dense


def _pieces(chosen: Array, most: int) -> list[Array]:
    return np.array_split(chosen, -(-len(chosen) // most)) if len(chosen) else []


def _complete(paths: list[Path]) -> bool:
    """Whether paths are the leaves of a binary tree: at each point one column, both signs."""
    pending: list[tuple[int, list[Path]]] = [(0, paths)]
    while pending:
        depth, some = pending.pop()
        if len(some) == 1 and len(some[0]) == depth:
            continue
        if any(len(path) <= depth for path in some):
            return False
        splits = {path[depth] for path in some}
        if len(splits) != 2 or sum(splits) != 0:
            return False
        pending += [(depth + 1, [path for path in some if path[depth] == split]) for split in splits]
    return True
