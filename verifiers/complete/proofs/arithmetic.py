"""What the checkers of proofs share: their verdicts, and float64 arithmetic that errs to the safe side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .steps import Matrix, Step

Array = NDArray[Any]
UNIT = 2.0**-53
TINY = 1e-300


class Refused(Exception):
    """The proof does not show what it claims; the message says where it fails."""


@dataclass(frozen=True)
class Checked:
    """What was checked: the margin that holds, the number of states (parts with bounds of their own), and of leaves."""

    margin: float
    states: int
    leaves: int


def gamma(terms: int) -> float:
    """What a sum of so many products errs by, relative to their magnitudes; twice as much as it can."""
    return 2.0 * (terms + 16) * UNIT


def relu_lines(lower: Array, upper: Array, slopes: Array) -> tuple[Array, Array, Array]:
    """(slope below, slope above, offset above) of lines around ReLUs on [lower, upper] (..., n), slopes clipped to
    [0, 1]; the offset is the least for the slope as rounded, since a line above both ends is above the ReLU."""
    left, right = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    chord = np.clip(right / np.maximum(right - left, 1e-150), 0.0, 1.0)
    offset = np.maximum(-chord * left, right * (1.0 - chord)) * (1.0 + 8 * UNIT) + TINY
    slope = np.where(lower >= 0, 1.0, np.where(upper <= 0, 0.0, np.clip(np.nan_to_num(slopes), 0.0, 1.0)))
    return slope, chord, offset


def step_range(step: Step, sources: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Bounds (..., width) of a step, by intervals; sources: (lower, upper) of the steps that it takes."""
    low, high = sources[0]
    if step.is_relu:
        return np.maximum(low, 0.0), np.maximum(high, 0.0)
    if step.curve:
        return step.curve.interval(low, high)
    if step.matrix is not None:
        return affine_range(step.matrix, low, high)
    low, high = low + sources[1][0], high + sources[1][1]
    error = 4 * UNIT * np.maximum(np.abs(low), np.abs(high)) + TINY
    return low - error, high + error


def affine_range(matrix: Matrix, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds (..., out) of the image of boxes [lower, upper] (..., in)."""
    reach = np.maximum(np.abs(lower), np.abs(upper))
    most = (matrix.magnitude @ reach.T).T + np.abs(matrix.bias)
    error = 1.01 * (2 * gamma(matrix.terms) * most + matrix.data_error(reach)) + TINY
    centre = (matrix.weight @ (lower / 2 + upper / 2).T).T + matrix.bias
    radius = (matrix.magnitude @ (upper / 2 - lower / 2).T).T
    return centre - radius - error, centre + radius + error
