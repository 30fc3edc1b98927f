"""Properties of a network in general: boxes of inputs, and what the outputs must never be on them.

The question of VNN-LIB: is there an input in one of the boxes whose outputs are unsafe? "Violated" means that there is
one, "holds" that there is none. `verifiers.graph.rewriting.reduction` turns the question into classification problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conjunction:
    """Outputs y with weight @ y <= bound in every row. weight: (R, outputs), bound: (R,), R >= 1."""

    weight: Vector
    bound: Vector

    def excess(self, y: Vector) -> float:
        """The largest of weight @ y - bound: y is in the set if this is <= 0."""
        return float((self.weight @ y - self.bound).max())


@dataclass(frozen=True, eq=False)
class Case:
    """One box of inputs lower <= x <= upper, shapes (inputs,), and the outputs that are unsafe on it: the union of
    `unsafe`, of which there is at least one."""

    lower: Vector
    upper: Vector
    unsafe: tuple[Conjunction, ...]

    def outside(self, x: Vector) -> float:
        """How far the farthest coordinate of x lies outside the box; 0 inside."""
        return float(np.maximum(self.lower - x, x - self.upper).max(initial=0.0))

    def excess(self, y: Vector) -> float:
        """<= 0 exactly where y is unsafe."""
        return min(conjunction.excess(y) for conjunction in self.unsafe)


@dataclass(frozen=True, eq=False)
class Property:
    """Violated if some input of some case has unsafe outputs. inputs, outputs: how many numbers the network takes and
    gives (flattened in row-major order); cases may be empty: nothing violates such a property.

    Bounds of boxes are rounded outward and right-hand sides up from the numbers as written, so that the set asked
    about is never smaller than the one written; coefficients are the nearest float64.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def violation(self, x: Vector, y: Vector, tolerance: float = 0.0) -> float:
        """<= 0 exactly where x, with outputs y, violates the property; x may lie outside a box by `tolerance`.

        x: (inputs,), y: (outputs,). Infinite if x is in no box; NaN never violates.
        """
        if np.isnan(x).any() or np.isnan(y).any():
            return float("inf")
        found = (case.excess(y) for case in self.cases if case.outside(x) <= tolerance)
        return min(found, default=float("inf"))


def rounded_down(value: Fraction | Decimal) -> float:
    """The largest float64 that is not above `value`. Raises `InvalidInput` beyond the range of float64."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf
    if not math.isfinite(nearest):
        raise InvalidInput("a number is too large for float64")
    return nearest if type(value)(nearest) <= value else math.nextafter(nearest, -math.inf)


def rounded_up(value: Fraction | Decimal) -> float:
    """The smallest float64 that is not below `value`. Raises as `rounded_down` does."""
    return -rounded_down(value.copy_negate() if isinstance(value, Decimal) else -value)


def float32_inside(x: Vector, lower: Sequence[float] | Vector, upper: Sequence[float] | Vector) -> NDArray[np.float32]:
    """x as float32 numbers between the bounds; where no float32 lies between them, the one nearest to x."""
    low, high = np.asarray(lower).astype(np.float32), np.asarray(upper).astype(np.float32)
    low = np.where(low < lower, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > upper, np.nextafter(high, np.float32(-np.inf)), high)
    near: NDArray[np.float32] = x.astype(np.float32)
    return np.where(low <= high, np.clip(near, low, high), near).astype(np.float32)
