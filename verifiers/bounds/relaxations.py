"""Linear relaxations of activations: pure functions (l, u) -> a lower and an upper line, sound on [l, u].

Lines are a z + b per neuron. Any slope is sound provided the offset is computed for that slope as rounded, which is
what makes the lines hold in real arithmetic. A bound that is NaN (nothing is known) gives NaN lines, never wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor


class Lines(NamedTuple):
    """lower_slope z + lower_offset <= f(z) <= upper_slope z + upper_offset on [l, u], each (B, *shape)."""

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor


@dataclass(frozen=True)
class Relaxation:
    """A named variant. parallel: both slopes are always equal (back-substitution then keeps one row for both sides);
    flat: all slopes are zero (back-substitution then ends there)."""

    name: str
    relu: Callable[[Tensor, Tensor], Lines]
    parallel: bool = False
    flat: bool = False


def _relu_upper(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(unstable, slope, offset) of the chord from (l, 0) to (u, u) over unstable neurons, exact over stable ones.

    The offset is the least one that lies above ReLU at both ends for the slope as rounded: ReLU is convex.
    Its own roundings are at most four, less than the factor (1 + 4 eps) = (1 + 8 u).
    """
    unstable = ~(lower >= 0) & ~(upper <= 0)
    left, right = torch.where(unstable, lower, -1.0), torch.where(unstable, upper, 1.0)
    chord = right / (right - left)
    limits = torch.finfo(lower.dtype)
    offset = torch.maximum(-chord * left, right * (1 - chord)) * (1 + 4 * limits.eps) + limits.tiny
    slope = torch.where(unstable, chord, (lower >= 0).to(lower.dtype))
    return unstable, slope, torch.where(unstable, offset, 0.0)


def _relu_lines(lower: Tensor, upper: Tensor, lower_slope: Callable[[Tensor], Tensor]) -> Lines:
    """Chord above, a line through the origin with slope in [0, 1] below."""
    unstable, slope, offset = _relu_upper(lower, upper)
    return Lines(torch.where(unstable, lower_slope(slope), slope), torch.zeros_like(offset), slope, offset)


def relu_adaptive(lower: Tensor, upper: Tensor, tie: float) -> Lines:
    """Lower slope 1 where u > -l, 0 where u < -l: the triangle of smaller area.

    tie: the slope where u = -l: 1 in CROWN (Zhang et al. 2018, section 3.2), 0 in DeepPoly (Singh et al. 2019).
    """
    return _relu_lines(lower, upper, lambda _: torch.where(upper == -lower, tie, (upper > -lower).to(lower.dtype)))


def relu_zero(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line 0."""
    return _relu_lines(lower, upper, torch.zeros_like)


def relu_one(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line z."""
    return _relu_lines(lower, upper, torch.ones_like)


def relu_parallel(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line parallel to the chord (Fast-Lin, DeepZ, Wong and Kolter)."""
    return _relu_lines(lower, upper, lambda chord: chord)


def relu_interval(lower: Tensor, upper: Tensor) -> Lines:
    """The constants ReLU(l) and ReLU(u)."""
    zero = torch.zeros_like(lower)
    return Lines(zero, lower.clamp(min=0), zero, upper.clamp(min=0))


ADAPTIVE = Relaxation("adaptive", partial(relu_adaptive, tie=1.0))
ADAPTIVE_TIE_ZERO = Relaxation("adaptive, tie 0", partial(relu_adaptive, tie=0.0))
ZERO = Relaxation("zero", relu_zero)
ONE = Relaxation("one", relu_one)
PARALLEL = Relaxation("parallel", relu_parallel, parallel=True)
INTERVAL = Relaxation("interval", relu_interval, flat=True)
