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

from .relu import Lines
from .shapes import Curve

_BISECTIONS, _SECANTS = 6, 8


@dataclass(frozen=True)
class _Curves:
    """g = sign f, sign 1 and -1, between `lower` and `upper`, (2 n,), to be bounded from below.

    [start, stop]: where g is convex, as far as it is looked at (nowhere if start > stop); [other_start, other_stop]:
    where else it is.
    """

    curve: Curve
    sign: Tensor
    lower: Tensor
    upper: Tensor
    start: Tensor
    stop: Tensor
    other_start: Tensor
    other_stop: Tensor

    def pick(self, second: Tensor) -> _Curves:
        """Of the two for every entry, the first n and the last n, the second where `second` (n,)."""
        halves = (getattr(self, name).chunk(2) for name in vars(self) if name != "curve")
        return _Curves(self.curve, *(torch.where(second, other, one) for one, other in halves))

    def value(self, x: Tensor) -> Tensor:
        return self.sign * self.curve.value(x)

    def slope(self, x: Tensor) -> Tensor:
        return self.sign * self.curve.slope(x)

    def supports(self, slope: Tensor) -> Tensor:
        """Whether a line of this slope touches g at 0 because g has a convex kink there."""
        left, right = (self.sign * side for side in self.curve.kink or (0.0, 0.0))
        return (left < right) & (left <= slope) & (slope <= right)


@dataclass(frozen=True)
class _Line:
    """A line below g by its slope. touch, elsewhere: where it comes closest to g on the convex parts; chord: whether
    it is the chord."""

    slope: Tensor
    touch: Tensor
    elsewhere: Tensor
    chord: Tensor


def tangent_lines(curve: Curve, lower: Tensor, upper: Tensor, parallel: bool = False) -> Lines:
    """Lines below and above `curve` on [lower, upper], of any one shape; NaN or infinite where the ends are.

    parallel: both with one slope, as close as they come with it: that of the chord where one of them is the chord,
    else the smaller one of theirs (on sigmoid networks much better than the smaller slope of the two ends).
    """
    shape = lower.shape
    both = _both(curve, lower.flatten(), upper.flatten())
    line = _below(both)
    if parallel:
        slope = both.sign * line.slope
        (low, high), (low_chord, high_chord) = slope.chunk(2), line.chord.chunk(2)
        slope = torch.where(low_chord, low, torch.where(high_chord, high, torch.minimum(low, high)))
        line = _of_slope(both, both.sign * slope.repeat(2))
    (below, above), (low, high) = line.slope.chunk(2), _offset(both, line).chunk(2)
    low = low - curve.sag_at(upper.flatten())
    return Lines(*(part.reshape(shape) for part in (below, low, -above, -high)))


def touching_range(curve: Curve, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(first, last, whether there is one), each (2, *shape): the lines below `curve` on [lower, upper] (entry 0) and
    those above it (entry 1) that no other line is better than everywhere are its tangents between first and last.

    Elsewhere one line is the best everywhere, a chord. Curves with a kink are left as they are: none.
    """
    both = _both(curve, lower.flatten(), upper.flatten())
    inner, outer = torch.cat([both.start, both.stop]), torch.cat([both.stop, both.start])
    curved = both.start <= both.stop
    needed = torch.cat([curved & (both.lower < both.start), curved & (both.upper > both.stop)])
    found = _touch(both, needed, torch.cat([both.lower, both.upper]), outer, inner, inner)
    (first, last), (none_left, none_right), _ = (part.chunk(2) for part in found)
    there = curved & ~(none_left | none_right) & (first < last) & (curve.kink is None)
    first, last, there = (part.reshape(2, *lower.shape) for part in (first, last, there))
    return first, last, there


def tangent_offsets(curve: Curve, lower: Tensor, upper: Tensor, above: Tensor, slope: Tensor, touch: Tensor) -> Tensor:
    """Offsets (R, *shape) with which lines of these slopes lie below `curve` on [lower, upper], or above it where
    `above`; the best ones if `slope` is that of the curve at `touch`.

    lower, upper: (R or 1, *shape); above, slope, touch: (R, *shape).
    """
    lower, upper = (bound.expand_as(touch).flatten() for bound in (lower, upper))
    side = above.flatten()
    one = _both(curve, lower, upper).pick(side)
    at = touch.flatten().clamp(one.start, one.stop)  # the tangent argument holds on the convex part only
    elsewhere = torch.where(one.other_start <= one.lower, one.lower, one.upper)
    line = _Line(one.sign * slope.flatten(), at, elsewhere, torch.zeros_like(side))
    offset = one.sign * _offset(one, line)
    return torch.where(side, offset, offset - curve.sag_at(upper)).reshape(touch.shape)


def _both(curve: Curve, lower: Tensor, upper: Tensor) -> _Curves:
    """f and -f. Of two convex parts, which mirror each other, the line touches the one on the longer side of 0."""
    low, up = lower.detach(), upper.detach()
    first: list[Tensor] = []
    second: list[Tensor] = []
    right: list[Tensor] = []
    for parts in ((curve.convex,), curve.concave):
        padded = (*parts, (torch.inf, torch.inf), (torch.inf, torch.inf))
        for ends, found in ((padded[0], first), (padded[1], second)):
            found.append(low.new_tensor(ends)[:, None].expand(2, len(low)))
        right.append((up >= -low) & (len(parts) == 2))
    before, after, swapped = torch.cat(first, dim=1), torch.cat(second, dim=1), torch.cat(right)
    start, stop = torch.where(swapped, after, before)
    other_start, other_stop = torch.where(swapped, before, after)
    low, up = low.repeat(2), up.repeat(2)
    ones = torch.ones_like(lower)
    return _Curves(
        curve, torch.cat([ones, -ones]), lower.repeat(2), upper.repeat(2), torch.maximum(low, start),
        torch.minimum(up, stop), torch.maximum(low, other_start), torch.minimum(up, other_stop),
    )  # fmt: skip


def _below(g: _Curves) -> _Line:
    """The line below g of least area."""
    lower, upper, start, stop = g.lower, g.upper, g.start, g.stop
    curved = start <= stop
    left, right = curved & (lower < start), curved & (upper > stop)
    touch = torch.where(curved, g.curve.touch(lower, upper).clamp(start, torch.maximum(start, stop)), lower)
    with torch.no_grad():
        inner, outer = torch.cat([start, stop]), torch.cat([stop, start])
        found = _touch(g, torch.cat([left, right]), torch.cat([lower, upper]), outer, inner, touch.repeat(2))
        (t_left, t_right), (none_left, none_right), (kink_left, kink_right) = (part.chunk(2) for part in found)
        chord = ~curved | none_left | none_right | (t_left > t_right)
    touch = torch.where(curved, torch.minimum(torch.maximum(touch, t_left), t_right), lower)
    slope = torch.where(chord & (upper > lower), _secant(g, lower, upper), g.slope(touch))
    if g.curve.kink is not None:
        slope = torch.where(kink_left & ~chord & (touch <= start), _secant(g, lower, start), slope)
        slope = torch.where(kink_right & ~chord & (touch >= stop), _secant(g, stop, upper), slope)
    with torch.no_grad():
        # below a chord g is closest to it at the far end of the convex part, or within if g is concave on both sides
        touch = torch.where(none_left & ~right, stop, torch.where(none_right & ~left, start, touch))
        touch = torch.where(chord & left & right, _level(g, chord & left & right, slope, start, stop), touch)
        elsewhere = torch.where(g.other_start <= lower, lower, upper)  # away from there g rises above the line
    return _Line(slope, touch, elsewhere, chord)


def _of_slope(g: _Curves, slope: Tensor) -> _Line:
    """The highest line below g of this slope."""
    parts = ((g.start, g.stop), (g.other_start, g.other_stop))
    with torch.no_grad():
        touch, elsewhere = (_level(g, start <= stop, slope, start, stop) for start, stop in parts)
    return _Line(slope, touch, elsewhere, torch.zeros_like(slope, dtype=torch.bool))


def _secant(g: _Curves, left: Tensor, right: Tensor) -> Tensor:
    width = right - left
    width = torch.where((width > 0) & width.isfinite(), width, 1.0)
    return (g.value(right) - g.value(left)) / width


def _touch(
    g: _Curves, needed: Tensor, end: Tensor, outer: Tensor, inner: Tensor, free: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(t between inner and outer, whether there is none, whether it is a kink) for the tangent through (end, g(end)).

    All for the lower ends, then for the upper ones. inner: the end of the convex part on the side of `end`, outer: the
    other one. The gap by which the tangent at t passes below (end, g(end)) shrinks as t moves towards it; if it is
    negative even at `outer`, no tangent of the convex part passes there; if it is positive at `inner`, the slope jumps
    there. Where it is positive at `free` and the other end is in the convex part, `free` will do.
    """
    alone, sign = ~torch.cat(needed.chunk(2)[::-1]), g.sign.repeat(2)
    t, none, kink = torch.where(needed & alone, free, inner), torch.zeros_like(needed), torch.zeros_like(needed)
    needed = needed & ~(alone & (free != inner) & (_gap(g.curve, sign, end)(free) > 0))
    if bool(needed.any()):
        gap, outer, inner = _gap(g.curve, sign[needed], end[needed]), outer[needed], inner[needed]
        first, last = gap(outer), gap(inner)
        sharp = (last > 0) & (g.curve.kink is not None)
        t[needed] = torch.where(sharp, inner, _root(gap, outer, inner, first, last))
        none[needed], kink[needed] = first <= 0, sharp
    return t, none, kink


def _gap(curve: Curve, sign: Tensor, end: Tensor) -> Callable[[Tensor], Tensor]:
    height = curve.value(end)
    return lambda t: sign * (height - curve.value(t) - curve.slope(t) * (end - t))


def _level(g: _Curves, needed: Tensor, slope: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """t in the convex part [start, stop] with g'(t) = slope, or the end or the kink that is nearest to it."""
    t = start.clone()
    if g.curve.kink is not None:  # g' jumps at 0: look on one side of it
        around = (start < 0) & (stop > 0)
        left, right = (g.sign * side for side in g.curve.kink)
        stop = torch.where(around & (slope < left), -torch.finfo(t.dtype).tiny, stop)
        start = torch.where(around & (slope > right), 0.0, start)
    if bool(needed.any()):
        sign, wanted, first, last = g.sign[needed], slope[needed], start[needed], stop[needed]
        ends = (wanted - sign * g.curve.slope(end) for end in (first, last))
        t[needed] = _root(lambda at: wanted - sign * g.curve.slope(at), first, last, *ends)
    if g.curve.kink is not None:
        t = torch.where(needed & (start <= 0) & (stop >= 0) & g.supports(slope), 0.0, t)
    return t


def _root(f: Callable[[Tensor], Tensor], first: Tensor, last: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Where f, which falls from `above` at `first` to `below` at `last`, is 0; the end nearest to it if nowhere.

    Bisection, then the Illinois rule, on the scale of arsinh, which takes 1e300 to 691: huge intervals need few steps
    more than small ones. No certificate rests on how far it gets.
    """
    near, far, tiny = first.asinh(), last.asinh(), torch.finfo(first.dtype).tiny
    middle = near
    before = torch.zeros_like(near, dtype=torch.bool)
    for step in range(_BISECTIONS + _SECANTS):
        bisect = step < _BISECTIONS
        share = 0.5 if bisect else (above / (above - below).clamp(min=tiny)).clamp(0.0, 1.0)
        middle = near + (far - near) * share
        value = f(middle.sinh())
        ahead = value > 0
        if not bisect:  # the end that stays for the second time counts half
            above = torch.where(before | ahead, above, above * 0.5)
            below = torch.where(before & ahead, below * 0.5, below)
        above, below = torch.where(ahead, value, above), torch.where(ahead, below, value)
        near, far = torch.where(ahead, middle, near), torch.where(ahead, far, middle)
        before = ahead
    return torch.minimum(torch.maximum(middle.sinh(), torch.minimum(first, last)), torch.maximum(first, last))


def _offset(g: _Curves, line: _Line) -> Tensor:
    """The largest c that is known to keep slope x + c below g."""
    offset = torch.minimum(_at(g, line.slope, g.lower), _at(g, line.slope, g.upper))
    parts = ((line.touch, g.start, g.stop), (line.elsewhere, g.other_start, g.other_stop))
    for t, start, stop in parts:
        if bool((start <= stop).any()):
            offset = torch.minimum(offset, _over(g, line.slope, t, start, stop))
    mixed = (g.lower < g.start) | (g.upper > g.stop)
    return offset - mixed.to(offset.dtype) * g.curve.bend_error


def _at(g: _Curves, slope: Tensor, x: Tensor) -> Tensor:
    """g(x) - slope x, rounded down."""
    value, product = g.value(x), slope * x
    eps = torch.finfo(x.dtype).eps
    return value - product - (g.curve.value_error(x, value) + 4 * eps * (value.abs() + product.abs()))


def _over(g: _Curves, slope: Tensor, t: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """A lower bound of g(x) - slope x on the convex part [start, stop] around t; +inf where there is none."""
    there = start <= stop
    left, right = torch.where(there, t - start, 0.0), torch.where(there, stop - t, 0.0)
    steepness = g.slope(t)
    if g.curve.kink is not None:
        steepness = torch.where((t == 0) & g.supports(slope), slope, steepness)
    excess = steepness - slope
    fall = torch.minimum(-excess * left, excess * right)  # <= 0
    error = g.curve.slope_error(t, steepness) + torch.finfo(t.dtype).eps * excess.abs()
    bound = _at(g, slope, t) + fall * (1 + 4 * torch.finfo(t.dtype).eps) - 2 * error * torch.maximum(left, right)
    return torch.where(there, bound, torch.inf)
