"""The largest value of a function of one parameter, for many functions at once.

Certificates that hold for every value of a parameter are maximized over it. A maximum that is missed costs radius and
never soundness, so the search needs no proof, only to be good: a grid, then golden sections around its best point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GRID: Final = 65
SECTIONS: Final = 50
"""Golden sections shrink two grid cells by 0.618^50 < 4e-11: near a smooth maximum the value is then exact."""
GOLDEN: Final = (5**0.5 - 1) / 2


def maximize(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Largest value of `function` found on [low, high], per entry.

    low, high: (n,); the function maps (m, n) parameters to (m, n) values, -inf where it has none.
    """
    values: Floats = function(maximizer(function, low, high)[None])[0]
    return values


def maximizer(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Where `function` has the largest value found on [low, high], per entry; arguments as for `maximize`."""
    points = low + np.linspace(0.0, 1.0, GRID)[:, None] * (high - low)
    values = function(points)
    best = values.argmax(axis=0)
    column = np.arange(len(low))
    left, right = points[np.maximum(best - 1, 0), column], points[np.minimum(best + 1, GRID - 1), column]
    for _ in range(SECTIONS):
        inner = np.stack([right - GOLDEN * (right - left), left + GOLDEN * (right - left)])
        first, second = function(inner)
        left, right = np.where(first < second, inner[0], left), np.where(first < second, right, inner[1])
    middle = (left + right) / 2
    found: Floats = np.where(function(middle[None])[0] > values[best, column], middle, points[best, column])
    return found
