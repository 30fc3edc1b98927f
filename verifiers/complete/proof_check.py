"""Checks proofs of branch and bound, with arithmetic of its own: numpy, float64, every error counted.

A proof claims that rows @ f(x) + offsets > 0 for every x of a box, for a chain f of affine layers with ReLUs between
them. It consists of
- states: sets of fixed phases, each one split more than its parent, with lower slopes and phase multipliers that show
  tighter bounds of pre-activations there;
- leaves: for a state and a row, further splits and the multipliers that show the row positive on that part.
Nothing in it is trusted: slopes are clipped to [0, 1], multipliers to the sign of their phase, bounds are computed
here, and the leaves of a row must cover everything: both sides of every split.

Arithmetic. Through a layer z = W h + b, rows a become a W with constant a b. In float64 that errs by less than
gamma |a| (|W| H + |b|), gamma = 2 (n + 8) 2^-53 for sums of n products, H >= |h|; the data of a layer that was itself
rounded may be off by `weight_error`, `bias_error`. Through ReLU lines the error is below gamma |a| (Z + t). All errors
are added up and taken off the bound, with one percent for the rounding of the errors themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FORMAT = "sokbench-proof-1"
_UNIT = 2.0**-53
_CHUNK = 512


class Refused(Exception):
    """The proof does not show what it claims; the message says where it fails."""


@dataclass(frozen=True)
class Checked:
    """What was checked: the margin that holds, the number of states, and of leaves."""

    margin: float
    states: int
    leaves: int


@dataclass
class _Part:
    """Bounds of all pre-activations (per layer (n,)) where the phases (per layer (n,), +1: z <= 0) hold."""

    lower: list[Array]
    upper: list[Array]
    phase: list[Array]


@dataclass(frozen=True)
class _Multipliers:
    """Per layer (R, n): lower slopes, phase multipliers, and the phases they are for."""

    slopes: list[Array]
    gammas: list[Array]
    phase: list[Array]


class Checker:
    """layers: objects with `weight` (sparse (out, in)), `bias`, `weight_error`, `bias_error`; proof: the arrays."""

    def __init__(self, layers: Sequence[Any], proof: Mapping[str, Array]) -> None:
        if str(proof["format"]) != FORMAT:
            raise Refused(f"the format is {proof['format']}, not {FORMAT}")
        self._layers, self._proof = layers, proof
        self._low, self._high = proof["lower"].astype(float), proof["upper"].astype(float)
        self._widths = [layer.weight.shape[0] for layer in layers[:-1]]
        self._columns = list(zip(proof["columns_layer"].tolist(), proof["columns_neuron"].tolist(), strict=True))
        if len(self._low) != layers[0].weight.shape[1] or not (self._low <= self._high).all():
            raise Refused("the box does not fit the network")
        if any(not (0 <= k < len(self._widths) and 0 <= j < self._widths[k]) for k, j in self._columns):
            raise Refused("a column stands for no neuron of the network")

    def check(self) -> Checked:
        """Raises `Refused`."""
        paths = _paths(self._proof["state_paths"], self._proof["state_ends"])
        states = {path: number for number, path in enumerate(paths)}
        if len(states) != len(paths) or () not in states:
            raise Refused("states are missing or double")
        leaf_paths = _paths(self._proof["leaf_paths"], self._proof["leaf_ends"])
        leaf_states, targets = self._proof["leaf_state"].tolist(), self._proof["leaf_target"].tolist()
        rows = self._proof["rows"].astype(float)
        where: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for state, target, path in zip(leaf_states, targets, leaf_paths, strict=True):
            where.setdefault((state, target), []).append(path)
        for target in range(len(rows)):
            if not self._covered((), target, states, where):
                raise Refused(f"row {target} is not covered by leaves")
        margin = np.inf
        parts: dict[tuple[int, ...], _Part] = {}
        for path in sorted(states, key=len):
            parts[path] = self._state(path, states[path], parts)
            mine = np.flatnonzero(np.asarray(leaf_states) == states[path])
            for some in np.array_split(mine, max(1, -(-len(mine) // _CHUNK))) if len(mine) else []:
                margin = min(margin, self._leaves(parts[path], some, leaf_paths, rows))
        return Checked(float(margin), len(states), len(leaf_paths))

    def _covered(self, path: tuple[int, ...], target: int, states: Any, where: Any) -> bool:
        if (states[path], target) in where:
            return _complete(where[states[path], target])
        children = [other for other in states if len(other) == len(path) + 1 and other[:-1] == path]
        if len(children) != 2 or children[0][-1] != -children[1][-1]:
            return False
        return all(self._covered(child, target, states, where) for child in children)

    def _state(self, path: tuple[int, ...], number: int, parts: dict[tuple[int, ...], _Part]) -> _Part:
        """Bounds of a state: its parent's, its split, and what its multipliers add, layer by layer."""
        if path:
            if path[:-1] not in parts:
                raise Refused(f"the state {path} has no parent")
            before = parts[path[:-1]]
            part = _Part(*([side.copy() for side in sides] for sides in (before.lower, before.upper, before.phase)))
            self._fix(part.phase, path[-1])
            for k in range(len(self._widths)):
                part.lower[k][part.phase[k] < 0] = np.maximum(part.lower[k][part.phase[k] < 0], 0.0)
                part.upper[k][part.phase[k] > 0] = np.minimum(part.upper[k][part.phase[k] > 0], 0.0)
        else:
            part = _Part([], [], [np.zeros(width, dtype=np.int8) for width in self._widths])
        for k, width in enumerate(self._widths):
            if not path:
                lower, upper = self._interval(k, part)
                part.lower.append(lower)
                part.upper.append(upper)
            name = f"state{number}_layer{k}"
            entries = self._proof[f"{name}_entries"] if f"{name}_entries" in self._proof else np.zeros(0, dtype=int)
            if k and not path:
                rest = np.setdiff1d(np.flatnonzero((part.lower[k] < 0) & (part.upper[k] > 0)), entries)
                self._raise(part, k, rest, None)
            if k and len(entries):
                if not ((entries >= 0) & (entries < width)).all():
                    raise Refused(f"{name}: an entry is no neuron")
                self._raise(part, k, entries, name)
        return part

    def _fix(self, phase: list[Array], split: int) -> None:
        if not 1 <= abs(split) <= len(self._columns):
            raise Refused(f"the split {split} is no column")
        k, neuron = self._columns[abs(split) - 1]
        phase[k][neuron] = 1 if split > 0 else -1

    def _interval(self, k: int, part: _Part) -> tuple[Array, Array]:
        low = self._low if k == 0 else np.maximum(part.lower[k - 1], 0.0)
        high = self._high if k == 0 else np.maximum(part.upper[k - 1], 0.0)
        layer, magnitude = self._layers[k], abs(self._layers[k].weight)
        reach = np.maximum(np.abs(low), np.abs(high))
        error = 1.01 * (self._error(k) * (magnitude @ reach + np.abs(layer.bias)) + self._data_error(k, reach)) + 1e-300
        centre, radius = layer.weight @ (low / 2 + high / 2) + layer.bias, magnitude @ (high / 2 - low / 2)
        return centre - radius - error, centre + radius + error

    def _error(self, k: int) -> float:
        return 2.0 * (2 * int(max(self._layers[k].weight.shape)) + 16) * _UNIT

    def _data_error(self, k: int, reach: Array) -> float:
        layer = self._layers[k]
        return float(layer.weight_error) * float(reach.max(initial=0.0)) + float(layer.bias_error)

    def _raise(self, part: _Part, k: int, entries: Array, name: str | None) -> None:
        """Better bounds of neurons `entries` of layer k: by the multipliers `name`, or CROWN's slopes without any."""
        for chosen in np.array_split(np.arange(len(entries)), max(1, -(-len(entries) // (_CHUNK // 2)))):
            if not len(chosen):
                continue
            both = np.concatenate([chosen, chosen + len(entries)])
            rows = np.zeros((len(both), self._widths[k]))
            rows[np.arange(len(chosen)), entries[chosen]] = 1.0
            rows[len(chosen) + np.arange(len(chosen)), entries[chosen]] = -1.0
            found = self._below(rows, np.zeros(len(both)), k, part, self._given(part, k, name, both))
            lower, upper = found[: len(chosen)], -found[len(chosen) :]
            part.lower[k][entries[chosen]] = np.maximum(part.lower[k][entries[chosen]], lower)
            part.upper[k][entries[chosen]] = np.minimum(part.upper[k][entries[chosen]], upper)

    def _given(self, part: _Part, k: int, name: str | None, rows: Array) -> _Multipliers:
        slopes: list[Array] = []
        gammas: list[Array] = []
        for j in range(k):
            crown = (part.upper[j] >= -part.lower[j]).astype(float)
            for values, kind, default in ((slopes, "slopes", crown), (gammas, "gammas", np.zeros(self._widths[j]))):
                dense = np.repeat(default[None], len(rows), axis=0)
                if name is not None and f"{name}_{kind}{j}" in self._proof:
                    given = self._proof[f"{name}_{kind}{j}"][rows].astype(float)
                    kept = self._proof[f"kept{j}"] if given.shape[1] != self._widths[j] else np.arange(self._widths[j])
                    dense[:, kept] = given
                values.append(dense)
        return _Multipliers(slopes, gammas, [phase[None] for phase in part.phase[:k]])

    def _leaves(self, part: _Part, chosen: Array, paths: list[tuple[int, ...]], rows: Array) -> float:
        """Least bound of some leaves of a state; raises `Refused` unless all are positive."""
        count = len(chosen)
        phase = [np.repeat(one[None], count, axis=0) for one in part.phase]
        for place, leaf in enumerate(chosen.tolist()):
            views = [one[place] for one in phase]
            for split in paths[leaf]:
                self._fix(views, split)
        slopes = [np.zeros((count, width)) for width in self._widths]
        gammas = [np.zeros((count, width)) for width in self._widths]
        given_slopes = self._proof["leaf_slopes"][chosen].astype(float)
        given_gammas = self._proof["leaf_gammas"][chosen].astype(float)
        for place, (k, neuron) in enumerate(self._columns):
            slopes[k][:, neuron], gammas[k][:, neuron] = given_slopes[:, place], given_gammas[:, place]
        targets = self._proof["leaf_target"][chosen]
        offsets = self._proof["offsets"].astype(float)[targets]
        found = self._below(rows[targets], offsets, len(self._widths), part, _Multipliers(slopes, gammas, phase))
        worst = int(found.argmin())
        if not found[worst] > 0:
            raise Refused(f"leaf {int(chosen[worst])} of row {int(targets[worst])}: the bound is {found[worst]:.6g}")
        return float(found[worst])

    def _below(self, rows: Array, constants: Array, k: int, part: _Part, given: _Multipliers) -> Array:
        """Lower bounds (R,) of rows @ z_k + constants, z_k the output of layer k."""
        slack = np.zeros(len(rows))
        for depth in range(k, -1, -1):
            layer = self._layers[depth]
            below = depth - 1
            sides = (self._low, self._high) if not depth else (part.lower[below], part.upper[below])
            size = np.maximum(np.abs(sides[0]), np.abs(sides[1]))
            magnitude = np.abs(rows)
            reach = abs(layer.weight) @ size + np.abs(layer.bias)
            slack += self._error(depth) * (magnitude @ reach) + magnitude.sum(axis=1) * self._data_error(depth, size)
            constants = constants + rows @ layer.bias
            slack += 4 * _UNIT * np.abs(constants)
            rows = np.asarray((layer.weight.T @ rows.T).T)
            if not depth:
                break
            slope, offset = _lines(*sides, given.phase[below], given.slopes[below], rows > 0)
            constants = constants + (np.minimum(rows, 0.0) * offset).sum(axis=1)
            slack += 2 * (rows.shape[1] + 16) * _UNIT * (np.abs(rows) @ size + np.abs(rows * offset).sum(axis=1))
            sign = given.phase[below].astype(float)
            gamma = np.maximum(given.gammas[below] * sign, 0.0) * sign
            rows = rows * slope + gamma
            slack += 4 * _UNIT * ((np.abs(rows) + np.abs(gamma)) @ size + np.abs(constants))
        size = np.maximum(np.abs(self._low), np.abs(self._high))
        slack += 2 * (rows.shape[1] + 16) * _UNIT * (np.abs(rows) @ size)
        least = np.where(rows > 0, rows * self._low, rows * self._high).sum(axis=1) + constants
        bound = least - 1.01 * (slack + 4 * _UNIT * np.abs(least)) - 1e-300
        return np.where(np.isfinite(bound), bound, -np.inf)


def _lines(lower: Array, upper: Array, phase: Array, slopes: Array, above: Array) -> tuple[Array, Array]:
    """(slope, offset) of the line each row entry takes: below for entries > 0 (`above`), the chord for the others."""
    left, right = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    chord = np.clip(right / np.maximum(right - left, 1e-150), 0.0, 1.0)
    offset = np.maximum(-chord * left, right * (1.0 - chord)) * (1.0 + 8 * _UNIT) + 1e-300
    low_slope = np.where(lower >= 0, 1.0, np.where(upper <= 0, 0.0, np.clip(np.nan_to_num(slopes), 0.0, 1.0)))
    fixed = (phase < 0).astype(float)
    free = phase == 0
    slope = np.where(free, np.where(above, low_slope, chord), fixed)
    return slope, np.where(free & ~above, offset, 0.0)


def _paths(flat: Array, ends: Array) -> list[tuple[int, ...]]:
    starts = [0, *ends.tolist()[:-1]]
    return [tuple(flat[a:b].tolist()) for a, b in zip(starts, ends.tolist(), strict=True)]


def _complete(paths: list[tuple[int, ...]]) -> bool:
    """Whether paths are the leaves of a binary tree: at each point one column, both signs."""
    pending: list[tuple[int, list[tuple[int, ...]]]] = [(0, paths)]
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


def arrays_of(names: Iterator[tuple[str, Array]]) -> dict[str, Array]:
    """A proof's arrays, refusing objects (numpy loads those with pickle only)."""
    return {name: values for name, values in names if values.dtype != object}
