"""Rows of a layer as the proof checker pulls them back: of wide layers only the columns that are not zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from .arithmetic import UNIT, Array, gamma, relu_lines

if TYPE_CHECKING:
    from .steps import Matrix, Step


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """values (R, C) at `columns` (C,), ascending, of `width`; 0 elsewhere."""

    values: Array
    columns: Array
    width: int

    @staticmethod
    def full(values: Array) -> Rows:
        return Rows(values, np.arange(values.shape[1]), values.shape[1])

    @staticmethod
    def units(entries: Array, signs: Array, width: int) -> Rows:
        """Row r is `signs[r]` at `entries[r]`."""
        columns = np.unique(entries)
        values = np.zeros((len(entries), len(columns)))
        values[np.arange(len(entries)), np.searchsorted(columns, entries)] = signs
        return Rows(values, columns, width)

    def pick(self, values: Array) -> Array:
        """What belongs to the columns, of `values` (..., width)."""
        return values if len(self.columns) == self.width else values[..., self.columns]

    def reach(self, columns: Array) -> Rows:
        """The same rows, with room for these columns."""
        wanted = np.union1d(self.columns, columns)
        if len(wanted) == len(self.columns):
            return self
        values = np.zeros((len(self.values), len(wanted)))
        values[:, np.searchsorted(wanted, self.columns)] = self.values
        return Rows(values, wanted, self.width)

    def plus(self, other: Rows, size: Array) -> tuple[Rows, Array]:
        """(sum, error) for values of magnitudes `size` (width,)."""
        one = self.reach(other.columns)
        total = Rows(one.values + other.reach(one.columns).values, one.columns, self.width)
        return total, 4 * UNIT * (np.abs(total.values) @ total.pick(size))


@dataclass(frozen=True)
class Given:
    """Of an activation, for rows: slopes of lines below and (of curves) above, multipliers of its inputs, bounds of
    these; each (R or 1, width)."""

    slopes: list[Array]
    gammas: Array
    lower: Array
    upper: Array


def through_activation(rows: Rows, step: Step, given: Given, size: Array) -> tuple[Rows, Array, Array]:
    """(rows on the input, constants added, error); size: magnitudes of the inputs (width,)."""
    if given.gammas.any():
        rows = rows.reach(np.flatnonzero(given.gammas.any(axis=0)))
    values, size, gammas = rows.values, rows.pick(size), rows.pick(given.gammas)
    lower, upper, slopes = rows.pick(given.lower), rows.pick(given.upper), [rows.pick(side) for side in given.slopes]
    rounding = gamma(values.shape[1] + 8)
    if step.curve:
        passed, added, error = step.curve.through(values, lower, upper, slopes, size)
    else:
        slope, chord, offset = relu_lines(lower, upper, slopes[0])
        above, below = np.maximum(values, 0.0), np.minimum(values, 0.0)
        added = below @ offset[0] if len(offset) == 1 else (below * offset).sum(axis=1)
        error = rounding * (np.abs(values) @ (size + offset.max(axis=0)))
        passed = above * slope + below * chord
    if gammas.any():
        most = np.maximum(gammas, 0.0) * upper + np.minimum(gammas, 0.0) * lower
        error = error + rounding * (np.abs(gammas) @ size)
        passed, added = passed + gammas, added - most.sum(axis=1)
    return Rows(passed, rows.columns, rows.width), added, error


def through_matrix(rows: Rows, matrix: Matrix, size: Array) -> tuple[Rows, Array, Array]:
    """(rows on the input, constants added, error); size: magnitudes of the inputs (width,)."""
    weight, magnitude, used = matrix.part(rows.columns)
    bias, reached = rows.pick(matrix.bias), size if len(used) == len(size) else size[used]
    lost = gamma(matrix.terms) * (magnitude @ reached) + gamma(rows.width) * np.abs(bias)
    error = np.abs(rows.values) @ (lost + matrix.data_error(size))
    return Rows(np.asarray((weight.T @ rows.values.T).T), used, len(size)), rows.values @ bias, error
