"""Linear relaxations of the ReLU: pure functions (l, u) -> a lower and an upper line, sound on [l, u].

Lines are a z + b per neuron. Any slope is sound provided the offset is computed for that slope as rounded, which is
what makes the lines hold in real arithmetic. A bound that is NaN (nothing is known) gives NaN lines, never wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    """A named variant: how ReLUs are relaxed. parallel: their two slopes are always equal; flat: nothing but interval
    constants is used, for every operation. Unless flat, slopes are in [0, 1], the lower line goes through the origin,
    and both lines are exact for stable neurons, at which `backward` does not look again."""

    name: str
    relu: Callable[[Tensor, Tensor], Lines]
    parallel: bool = False
    flat: bool = False


def _relu_lines(lower: Tensor, upper: Tensor, lower_slope: Callable[[Tensor], Tensor]) -> Lines:
    """The chord from (l, 0) to (u, u) above, a line through the origin below; both are exact for stable neurons.

    lower_slope: of the chord's slope; in [0, 1], 1 where 0 <= l and 0 where u <= 0.
    ReLU is convex, so a line lies above it if it does at both ends: the offset is the least one that does, for the
    slope as rounded. At most four roundings are made on the way, less than the factor 1 + 4 eps.
    """
    left, right = lower.clamp(max=0), upper.clamp(min=0)
    limits = torch.finfo(lower.dtype)
    chord = right / (right - left).clamp(min=limits.tiny**0.5)  # 0 for u <= 0 and 1 for l >= 0; no 0 / 0
    offset = torch.maximum(-chord * left, right * (1 - chord)) * (1 + 4 * limits.eps) + limits.tiny
    return Lines(lower_slope(chord), torch.zeros_like(offset), chord, offset)


def relu_adaptive(lower: Tensor, upper: Tensor) -> Lines:
    """Lower slope 1 where u >= -l, else 0: the triangle of smaller area (CROWN, Zhang et al. 2018, section 3.2)."""
    return _relu_lines(lower, upper, lambda chord: (upper >= -lower).to(chord.dtype))


def relu_adaptive_tie_zero(lower: Tensor, upper: Tensor) -> Lines:
    """As `relu_adaptive`, but slope 0 where u = -l (DeepPoly, Singh et al. 2019)."""
    return _relu_lines(lower, upper, lambda chord: (upper > -lower).to(chord.dtype))


def relu_zero(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line 0 for unstable neurons."""
    return _relu_lines(lower, upper, lambda chord: (lower >= 0).to(chord.dtype))


def relu_one(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line z for unstable neurons."""
    return _relu_lines(lower, upper, lambda chord: (upper > 0).to(chord.dtype))


def relu_parallel(lower: Tensor, upper: Tensor) -> Lines:
    """Lower line parallel to the chord (Fast-Lin, DeepZ, Wong and Kolter)."""
    return _relu_lines(lower, upper, lambda chord: chord)


def relu_interval(lower: Tensor, upper: Tensor) -> Lines:
    """The constants ReLU(l) and ReLU(u)."""
    zero = torch.zeros_like(lower)
    return Lines(zero, lower.clamp(min=0), zero, upper.clamp(min=0))


def relu_hybrid(lower: Tensor, upper: Tensor) -> Lines:
    """The constants 0 and u for unstable neurons, stable ones exact (hBox, hybrid zonotopes, Mirman et al. 2018)."""
    active, unstable = lower >= 0, ~(lower >= 0) & ~(upper <= 0)
    slope = active.to(lower.dtype)
    return Lines(slope, torch.zeros_like(lower), slope, torch.where(unstable, upper, 0.0))


ADAPTIVE = Relaxation("adaptive", relu_adaptive)
ADAPTIVE_TIE_ZERO = Relaxation("adaptive, tie 0", relu_adaptive_tie_zero)
ZERO = Relaxation("zero", relu_zero)
ONE = Relaxation("one", relu_one)
PARALLEL = Relaxation("parallel", relu_parallel, parallel=True)
HYBRID = Relaxation("hybrid", relu_hybrid, parallel=True)
INTERVAL = Relaxation("interval", relu_interval, flat=True)
