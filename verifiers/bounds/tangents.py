"""Lines above and below a curve that is convex on one interval and concave on at most two: tangents and chords.

The line below f on [l, u] of least area touches the convex envelope of f. With [a, b] the part of [l, u] where f is
convex, that envelope is f itself between t1 and t2, and tangents elsewhere: the one at t1 passes through (l, f(l)) if
f is concave left of a, else t1 = l; the one at t2 passes through (u, f(u)) likewise. If t1 > t2, or there is no such
point, or no convex part, the line is the chord. The line above f is minus the one below -f.
For an S-shaped f this gives the tangents and chords of CROWN (Zhang et al. 2018, tables 2 and 3), but for the choice of
the touching point where several would do.

Soundness does not rest on how t1 and t2 are found: for any slope s, f - s x on a concave part is least at its ends, and
on a convex part, for any t in it, f(x) - s x >= f(t) - s t + (f'(t) - s)(x - t). The offset is the least of these, less
what computing them can lose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .relaxations import Lines
from .shapes import Curve

_STEPS = 45  # of bisection: any result is sound, these make it tight


@dataclass(frozen=True)
class _Side:
    """g = sign f between `lower` and `upper` (n,), to be bounded from below. [start, stop]: where g is convex, as far
    as it is looked at (nowhere if start > stop); [other_start, other_stop]: where else it is."""

    curve: Curve
    sign: float
    lower: Tensor
    upper: Tensor
    start: Tensor
    stop: Tensor
    other_start: Tensor
    other_stop: Tensor

    def value(self, x: Tensor) -> Tensor:
        return self.sign * self.curve.value(x)

    def slope(self, x: Tensor) -> Tensor:
        return self.sign * self.curve.slope(x)

    @property
    def kink(self) -> tuple[float, float] | None:
        """The slopes left and right of 0, where g has a convex kink: any slope between supports g there."""
        left, right = (self.sign * slope for slope in self.curve.kink or (0.0, 0.0))
        return (left, right) if left < right else None


def tangent_lines(curve: Curve, lower: Tensor, upper: Tensor, parallel: bool = False) -> Lines:
    """Lines below and above `curve` on [lower, upper], of any one shape; NaN or infinite where the ends are.

    parallel: both with one slope, as close as they come with it: that of the chord where one of them is the chord,
    else the smaller one of theirs (on sigmoid networks much better than the smaller slope of the two ends).
    """
    shape = lower.shape
    lower, upper = lower.flatten(), upper.flatten()
    sides = _side(curve, 1.0, lower, upper, (curve.convex,)), _side(curve, -1.0, lower, upper, curve.concave)
    below, above = (_below(side) for side in sides)
    if parallel:
        slope = torch.where(above.chord, -above.slope, torch.minimum(below.slope, -above.slope))
        slope = torch.where(below.chord, below.slope, slope)
        below, above = _of_slope(sides[0], slope), _of_slope(sides[1], -slope)
    low, high = (_offset(side, line) for side, line in zip(sides, (below, above), strict=True))
    return Lines(*(part.reshape(shape) for part in (below.slope, low - curve.sag_at(upper), -above.slope, -high)))


def _side(curve: Curve, sign: float, lower: Tensor, upper: Tensor, parts: tuple[tuple[float, float], ...]) -> _Side:
    """Of two convex parts, which mirror each other, the line touches the one on the longer side of 0."""
    nowhere = (torch.inf, torch.inf)
    first, second = (*parts, nowhere, nowhere)[:2]
    low, up = lower.detach(), upper.detach()
    right = (up >= -low) & (len(parts) == 2)
    start, stop, other_start, other_stop = (
        torch.where(right, low.new_tensor(a), low.new_tensor(b))
        for a, b in ((second[0], first[0]), (second[1], first[1]), (first[0], second[0]), (first[1], second[1]))
    )
    return _Side(
        curve, sign, lower, upper, torch.maximum(low, start), torch.minimum(up, stop),
        torch.maximum(low, other_start), torch.minimum(up, other_stop),
    )  # fmt: skip


@dataclass(frozen=True)
class _Line:
    """A line below g by its slope. touch, elsewhere: where it comes closest to g on the convex parts; chord: whether
    it is the chord."""

    slope: Tensor
    touch: Tensor
    elsewhere: Tensor
    chord: Tensor


def _below(side: _Side) -> _Line:
    """The line below g of least area."""
    lower, upper, start, stop = side.lower, side.upper, side.start, side.stop
    curved = start <= stop
    left, right = curved & (lower < start), curved & (upper > stop)
    with torch.no_grad():
        t_left, none_left, kink_left = _touch(side, left, lower, stop, start)
        t_right, none_right, kink_right = _touch(side, right, upper, start, stop)
        chord = ~curved | none_left | none_right | (t_left > t_right)
    touch = torch.minimum(torch.maximum(side.curve.touch(lower, upper), t_left), t_right)
    touch = torch.where(curved, touch, lower)
    slope = torch.where(chord & (upper > lower), _secant(side, lower, upper), side.slope(touch))
    if side.kink is not None:
        slope = torch.where(kink_left & ~chord & (touch <= start), _secant(side, lower, start), slope)
        slope = torch.where(kink_right & ~chord & (touch >= stop), _secant(side, stop, upper), slope)
    with torch.no_grad():
        touch = torch.where(chord & curved, _level(side, chord & curved, slope, start, stop), touch)
        elsewhere = torch.where(side.other_start <= lower, lower, upper)  # away from there g rises above the line
    return _Line(slope, touch, elsewhere, chord)


def _of_slope(side: _Side, slope: Tensor) -> _Line:
    """The highest line below g of this slope."""
    parts = ((side.start, side.stop), (side.other_start, side.other_stop))
    with torch.no_grad():
        touch, elsewhere = (_level(side, start <= stop, slope, start, stop) for start, stop in parts)
    return _Line(slope, touch, elsewhere, torch.zeros_like(slope, dtype=torch.bool))


def _secant(side: _Side, left: Tensor, right: Tensor) -> Tensor:
    width = right - left
    width = torch.where((width > 0) & width.isfinite(), width, 1.0)
    return (side.value(right) - side.value(left)) / width


def _touch(side: _Side, needed: Tensor, end: Tensor, outer: Tensor, inner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(t between inner and outer, whether there is none, whether it is a kink) for the tangent through (end, g(end)).

    inner: the end of the convex part on the side of `end`, outer: the other one. The gap by which the tangent at t
    passes below (end, g(end)) shrinks as t moves towards it; if it is negative even at `outer`, no tangent of the
    convex part passes there; if it is positive at `inner`, the slope jumps there.
    """
    t, none, kink = inner.clone(), torch.zeros_like(needed), torch.zeros_like(needed)
    if not bool(needed.any()):
        return t, none, kink
    end, outer, inner = end[needed], outer[needed], inner[needed]
    value = side.value(end)

    def below(at: Tensor) -> Tensor:
        return value - side.value(at) > side.slope(at) * (end - at)

    sharp = below(inner) if side.kink is not None else none[needed]
    t[needed] = torch.where(sharp, inner, _bisect(below, outer, inner))
    none[needed], kink[needed] = ~below(outer), sharp
    return t, none, kink


def _level(side: _Side, needed: Tensor, slope: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """t in the convex part [start, stop] with g'(t) = slope, or the end or the kink that is nearest to it."""
    t = start.clone()
    if bool(needed.any()):
        wanted = slope[needed]
        t[needed] = _bisect(lambda at: side.slope(at) <= wanted, start[needed], stop[needed])
    kink = side.kink
    if kink is not None:
        t = torch.where(needed & (start <= 0) & (stop >= 0) & (kink[0] <= slope) & (slope <= kink[1]), 0.0, t)
    return t


def _bisect(holds: Callable[[Tensor], Tensor], first: Tensor, last: Tensor) -> Tensor:
    """The last point from `first` to `last` where `holds`, if it does not hold again after it has once failed.

    On the scale of arsinh, which takes 1e300 to 691: huge intervals need no more steps than small ones.
    """
    near, far = first.asinh(), last.asinh()
    for _ in range(_STEPS):
        middle = (near + far) / 2
        go_on = holds(middle.sinh())
        near, far = torch.where(go_on, middle, near), torch.where(go_on, far, middle)
    return torch.minimum(torch.maximum(near.sinh(), torch.minimum(first, last)), torch.maximum(first, last))


def _offset(side: _Side, line: _Line) -> Tensor:
    """The largest c that is known to keep slope x + c below g."""
    offset = torch.minimum(_at(side, line.slope, side.lower), _at(side, line.slope, side.upper))
    parts = ((line.touch, side.start, side.stop), (line.elsewhere, side.other_start, side.other_stop))
    for t, start, stop in parts:
        if bool((start <= stop).any()):
            offset = torch.minimum(offset, _over(side, line.slope, t, start, stop))
    mixed = (side.lower < side.start) | (side.upper > side.stop)
    return offset - mixed.to(offset.dtype) * side.curve.bend_error


def _at(side: _Side, slope: Tensor, x: Tensor) -> Tensor:
    """g(x) - slope x, rounded down."""
    value, product = side.value(x), slope * x
    eps = torch.finfo(x.dtype).eps
    return value - product - (side.curve.value_error(x, value) + 4 * eps * (value.abs() + product.abs()))


def _over(side: _Side, slope: Tensor, t: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """A lower bound of g(x) - slope x on the convex part [start, stop] around t; +inf where there is none."""
    there = start <= stop
    left, right = torch.where(there, t - start, 0.0), torch.where(there, stop - t, 0.0)
    steepness, kink = side.slope(t), side.kink
    if kink is not None:
        steepness = torch.where(t == 0, slope.clamp(*kink), steepness)
    excess = steepness - slope
    fall = torch.minimum(-excess * left, excess * right)  # <= 0
    error = side.curve.slope_error(t, steepness) + torch.finfo(t.dtype).eps * excess.abs()
    bound = _at(side, slope, t) + fall * (1 + 4 * torch.finfo(t.dtype).eps) - 2 * error * torch.maximum(left, right)
    return torch.where(there, bound, torch.inf)
