"""Lower bounds of linear programs that hold in real arithmetic, from any vector of row duals.

For  minimise c'v  over  {v : rl <= A v <= ru, lb <= v <= ub}  and any y,

    c'v = y'(A v) + (c - A'y)'v >= sum_i min(y_i rl_i, y_i ru_i) + sum_j min over [lb_j, ub_j] of (c - A'y)_j v_j,

so every y gives a bound, and the solver's tolerances cost tightness, never soundness. What is left is the rounding
of evaluating the right-hand side, which is bounded here (u = 2^-53, gamma_n = n u / (1 - n u)):

- a dot product of n terms errs by at most gamma_n sum |terms| in any order of summation, so r = c - A'y errs in
  entry j by at most e_j = gamma_(n_j + 1) (|A|'|y| + |c|)_j; we use 2 (n_j + 4) u, which also pays for rounding in
  evaluating e_j itself, and add the smallest normal number for underflow. `cost_error` (|true c - c|) adds to e_j.
- the products of the two sums round once each and are then summed exactly (`math.fsum`, one rounding):
  4 u sum |terms| covers both and the final subtraction.

A. Neumaier, O. Shcherbina: Safe bounds in linear and mixed-integer linear programming. Math. Program. 99, 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]

UNIT = 2.0**-53
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Bounds:
    """The right-hand sides of a linear program: row_lower <= A v <= row_upper, lower <= v <= upper.

    Rows may be one-sided (infinite); columns must be finite on both sides.
    """

    row_lower: Vector
    row_upper: Vector
    lower: Vector
    upper: Vector

    def copy(self) -> Bounds:
        return Bounds(self.row_lower.copy(), self.row_upper.copy(), self.lower.copy(), self.upper.copy())


class DualBound:
    """Evaluates safe dual bounds of programs that share the matrix `matrix` (rows, columns)."""

    def __init__(self, matrix: sp.csr_array) -> None:
        self._transpose = sp.csr_array(matrix.T)
        self._magnitude = abs(self._transpose)
        self._unit_count = 2.0 * UNIT * (np.diff(self._transpose.indptr) + 4.0)

    def minimum(self, cost: Vector, bounds: Bounds, dual: Vector, cost_error: Vector | float = 0.0) -> float:
        """A number that no feasible v undercuts in c'v, for any true c within `cost_error` of `cost`.

        cost: (columns,); dual: (rows,), any numbers (best: the solver's row duals of a minimisation).
        Returns -inf where the arithmetic overflows.
        """
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            bound = self._evaluate(cost, bounds, dual, cost_error)
        return bound if math.isfinite(bound) else -math.inf

    def refutes(self, bounds: Bounds, ray: Vector) -> bool:
        """Whether `ray` proves that no point satisfies the constraints (Farkas: 0 >= a positive bound)."""
        return self.minimum(np.zeros(len(bounds.lower)), bounds, ray) > 0.0

    def _evaluate(self, cost: Vector, bounds: Bounds, dual: Vector, cost_error: Vector | float) -> float:
        y = _finite_sided(dual, bounds)
        reduced = cost - self._transpose @ y
        error = self._unit_count * (self._magnitude @ np.abs(y) + np.abs(cost)) + cost_error + _TINY
        rows = np.where(y > 0, y * _zero_infinite(bounds.row_lower), y * _zero_infinite(bounds.row_upper))
        columns = np.minimum(reduced * bounds.lower, reduced * bounds.upper)
        # error * reach is rounded up by the factor 2 already inside `error` for all terms but cost_error
        reach = np.maximum(np.abs(bounds.lower), np.abs(bounds.upper))
        spread = (1.0 + 4.0 * UNIT) * error * reach
        if not (np.isfinite(rows).all() and np.isfinite(columns).all() and np.isfinite(spread).all()):
            return -math.inf
        total = math.fsum(np.concatenate([rows, columns, -spread]))
        magnitude = math.fsum(np.concatenate([np.abs(rows), np.abs(columns), spread]))
        return total - 4.0 * UNIT * magnitude - (len(rows) + 2 * len(columns)) * _TINY


def _finite_sided(dual: Vector, bounds: Bounds) -> Vector:
    """The duals with those zeroed that would lean on an infinite side of their row, or are not numbers."""
    wrong = ((dual > 0) & np.isneginf(bounds.row_lower)) | ((dual < 0) & np.isposinf(bounds.row_upper))
    return np.where(wrong | ~np.isfinite(dual), 0.0, dual)


def _zero_infinite(side: Vector) -> Vector:
    return np.where(np.isfinite(side), side, 0.0)
