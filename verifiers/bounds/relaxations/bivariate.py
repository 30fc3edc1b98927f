"""Bounds of products and of maxima of two variables: intervals, and planes below and above.

All hold in real arithmetic: offsets are those of the slopes as rounded, moved outward by what computing them can lose.
NaN bounds give NaN (nothing is known), infinite ones NaN planes.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.bivariate import Bivariate, Max, Mul

from ..sets.inputs import Interval

Pair = tuple[Tensor, Tensor]


class Planes(NamedTuple):
    """lower_slopes (x, y) + lower_offset <= f(x, y) <= upper_slopes (x, y) + upper_offset on the two intervals."""

    lower_slopes: Pair
    lower_offset: Tensor
    upper_slopes: Pair
    upper_offset: Tensor


def pair_interval(op: Bivariate, x: Pair, y: Pair) -> Interval:
    """The range of `op` for x and y in intervals (lower, upper), rounded outward. Raises `Unsupported`."""
    if isinstance(op, Max):
        return Interval(torch.maximum(x[0], y[0]), torch.maximum(x[1], y[1]))
    if isinstance(op, Mul):
        corners = [a * b for a in x for b in y]
        low, high = reduce(torch.minimum, corners), reduce(torch.maximum, corners)
        return Interval(low - _rounding(low), high + _rounding(high))
    raise Unsupported(f"bounds of {op.name} are not available")


def pair_settled(op: Bivariate, x: Pair, y: Pair) -> Tensor:
    """Where tighter bounds of x or y gain nothing: `op` is affine on the two intervals. NaN is never settled."""
    if isinstance(op, Max):
        return (x[0] >= y[1]) | (y[0] >= x[1])
    return (x[0] == x[1]) | (y[0] == y[1])


def pair_planes(op: Bivariate, x: Pair, y: Pair) -> Planes:
    """Planes below and above `op` for x and y in intervals (lower, upper), entry by entry. Raises `Unsupported`."""
    if isinstance(op, Max):
        return _max_planes(x, y)
    if isinstance(op, Mul):
        return _mul_planes(x, y)
    raise Unsupported(f"linear bounds of {op.name} are not available")


def _mul_planes(x: Pair, y: Pair) -> Planes:
    """The planes of McCormick (1976) through three corners each.

    (x - a)(y - b) >= 0 for (a, b) = (lx, ly) and for (ux, uy), hence x y >= b x + a y - a b; <= 0 for the other two
    corners. Both planes of a side are equally far from x y at the centre and in the mean: the one is taken whose slopes
    pass less of the widths of x and y on, since these grow by the gaps of what comes before.
    """
    (lx, ux), (ly, uy) = x, y
    low = _corner(x, y, (lx, ly), (ux, uy))
    high = _corner(x, y, (lx, uy), (ux, ly))
    unknown = 0.0 * (lx + ux + ly + uy)  # NaN where a bound is not finite
    offset_low, offset_high = (unknown - a * b for a, b in (low, high))
    return Planes(
        (low[1], low[0]), offset_low - _rounding(offset_low), (high[1], high[0]), offset_high + _rounding(offset_high)
    )


def _corner(x: Pair, y: Pair, one: Pair, other: Pair) -> Pair:
    """(a, b) with the smaller |b| (ux - lx) + |a| (uy - ly)."""
    wide_x, wide_y = x[1] - x[0], y[1] - y[0]
    first, second = (b.abs() * wide_x + a.abs() * wide_y for a, b in (one, other))
    return torch.where(first <= second, one[0], other[0]), torch.where(first <= second, one[1], other[1])


def _max_planes(x: Pair, y: Pair) -> Planes:
    """Above, x + the chord of ReLU(y - x): no plane above has less volume. Below, x or y, of which the one with the
    larger centre leaves the smaller volume. Both are exact where x or y is the larger one throughout.

    A plane lies above max(x, y), which is convex, if it does at the four corners: the offset is the least one that
    does, for the slopes as rounded.
    """
    (lx, ux), (ly, uy) = x, y
    below, above = (ly - ux).clamp(max=0), (uy - lx).clamp(min=0)
    tiny = torch.finfo(lx.dtype).tiny
    slope_y = above / (above - below).clamp(min=tiny)
    first, second = lx >= uy, ly >= ux
    slope_y = torch.where(first, 0.0 * slope_y, torch.where(second, 1.0 + 0.0 * slope_y, slope_y))
    slope_x = 1.0 - slope_y
    reach = []
    for a in x:
        for b in y:
            top, part, rest = torch.maximum(a, b), slope_x * a, slope_y * b
            error = 2 * torch.finfo(lx.dtype).eps * (top.abs() + part.abs() + rest.abs()) + tiny
            reach.append(top - part - rest + error)
    offset = torch.where(first | second, 0.0 * lx, reduce(torch.maximum, reach))
    pick_x = ((lx / 2 + ux / 2) >= (ly / 2 + uy / 2)).to(lx.dtype) + 0.0 * (lx + ux + ly + uy)
    return Planes((pick_x, 1.0 - pick_x), torch.zeros_like(lx) + 0.0 * pick_x, (slope_x, slope_y), offset)


def _rounding(product: Tensor) -> Tensor:
    """More than one multiplication and one addition can lose."""
    limits = torch.finfo(product.dtype)
    return 2 * limits.eps * product.abs() + limits.tiny
