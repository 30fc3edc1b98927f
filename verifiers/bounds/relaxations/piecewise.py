"""Lines above and below piecewise linear activations: leaky ReLU, absolute value, clamp.

Between two neighbouring kinks a line minus f is linear, so that for any slope the offset is an extremum over the ends
of the interval and the kinks inside: exact but for its own rounding. No line has an error where f is affine on [l, u].
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ..sets.inputs import Interval
from .relu import Lines, Relaxation


def kinked_interval(left: float, lower: Tensor, upper: Tensor) -> Interval:
    """Range of f(x) = left x for x < 0 and x for x >= 0."""
    valley = torch.minimum(lower.clamp(min=0.0), upper) if left < 0 else lower
    low, high = _kinked(left, valley), torch.maximum(_kinked(left, lower), _kinked(left, upper))
    limits = torch.finfo(low.dtype)
    return Interval(*(end + sign * (limits.eps * end.abs() + limits.tiny) for end, sign in ((low, -1), (high, 1))))


def kinked_lines(left: float, lower: Tensor, upper: Tensor, relaxation: Relaxation) -> Lines:
    """f(x) = left x for x < 0 and x for x >= 0, which is left x + (1 - left) ReLU(x), with the slopes that follow from
    those of `relaxation`."""
    affine = (lower >= 0) | (upper <= 0)
    relu = relaxation.relu(lower, upper)
    exact = torch.where(lower >= 0, 1.0, torch.full_like(lower, left))
    below, above = (
        torch.where(affine, exact, left + (1 - left) * slope) for slope in (relu.lower_slope, relu.upper_slope)
    )
    if left > 1:
        below, above = above, below
    return _through(functools.partial(_kinked, left), (lower, upper, torch.zeros_like(lower)), affine, below, above)


def _kinked(left: float, x: Tensor) -> Tensor:
    return torch.where(x < 0, left * x, x)


def clamp_lines(low: float, high: float, lower: Tensor, upper: Tensor, parallel: bool = False) -> Lines:
    """f(x) = min(max(x, low), high). From below: the chord if f has no convex kink inside, else of the lines through
    (low, low), one flat and one through (u, f(u)), the one that leaves the smaller area; from above the mirror image.
    parallel: both with the slope of the chord.
    """

    def clamp(x: Tensor) -> Tensor:
        return x.clamp(low, high)

    inside, outside = (lower >= low) & (upper <= high), (upper <= low) | (lower >= high)
    whole = torch.where(outside, 0.0, torch.where(inside, 1.0, _secant(clamp, lower, upper)))
    first, last = torch.minimum(lower.clamp(min=low), upper), torch.maximum(upper.clamp(max=high), lower)
    middle = lower / 2 + upper / 2
    rising = torch.where(upper <= high, 1.0, _secant(clamp, first, upper))
    below = torch.where((lower >= low) | outside, whole, torch.where(middle >= low, rising, 0.0))
    rising = torch.where(lower >= low, 1.0, _secant(clamp, lower, last))
    above = torch.where((upper <= high) | outside, whole, torch.where(middle <= high, rising, 0.0))
    if parallel:
        below = above = whole
    return _through(clamp, (lower, upper, first, last), inside | outside, below, above)


def _secant(function: Callable[[Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    width = right - left
    return (function(right) - function(left)) / torch.where(width > 0, width, 1.0)


def _through(
    function: Callable[[Tensor], Tensor], points: tuple[Tensor, ...], affine: Tensor, below: Tensor, above: Tensor
) -> Lines:
    """Lines of these slopes as close to f as its values at `points` allow, the ends and the kinks between them.

    affine: where the slopes are those of f, exactly.
    """
    limits = torch.finfo(below.dtype)
    offsets = []
    for slope, sign in ((below, 1.0), (above, -1.0)):
        values = [(function(x), slope * x) for x in points]
        errors = [2 * limits.eps * (value.abs() + product.abs()) + limits.tiny for value, product in values]
        ends = [sign * (v - p) - error for (v, p), error in zip(values, errors, strict=True)]
        least = functools.reduce(torch.minimum, ends)
        value, product = values[0]
        offsets.append(torch.where(affine, value - product, sign * least))
    return Lines(below, offsets[0], above, offsets[1])
