"""Lines around smooth activations as the proof checker sees them: from a slope alone, with arithmetic of its own.

f(x) = shift + scale h(rate x) where h is tanh or arctan: odd, 0 < h' <= 1, convex up to 0 and concave beyond. The best
line of slope s below h on [L, U] has the offset min h(x) - s x, so whatever slope a proof gives, the line is sound.
On the concave part that is attained at an end. On the convex part it is attained at L if h'(L) >= s, at its other end
if h' <= s there, and otherwise nowhere lower than the least on all of x <= 0, at h'(x) = s, which has a closed form:
    tanh:   s a - w,          w = sqrt(1 - s),  cosh a = 1 / sqrt(s), sinh a = w / sqrt(s)
    arctan: sqrt(s) w - a,                      cos a = sqrt(s),      sin a = w
The line above is the one below, turned by 180 degrees: h is odd.

Arithmetic. Only +, -, *, / and square roots, which IEEE 754 rounds correctly (u = 2^-53); no function of a library.
Angles a are halved until a series gives them; tanh is a continued fraction, doubled. A halving adds less than 4 u to
the relative error of tan a (tanh a), a doubling less than 3 u to that of tanh. With the series the angles err by less
than 52 u (a <= pi/2 for arctan; for tanh s a <= 0.45), tanh by less than 32 u, 1 - tanh^2 by less than 67 u: all by
less than 96 u. What is cut off (arguments beyond 20, beyond 1e18) is below 1 u. A derivative that is off by 96 u can
take the wrong one of the three cases, where g = h - s x falls by no more than 96 u |L| further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from .arithmetic import UNIT, Array, gamma

_HALVINGS = 7  # of angles up to 20, to 0.16
_DOUBLINGS = 9  # to arguments up to 20, from 0.04
_TERMS = 10  # 0.16^20 / 21 < u / 10
_ERROR = 128 * UNIT
_FLATTEST = 2.0**-56  # of tanh: its angle is 20


@final
@dataclass(frozen=True)
class Curve:
    """shift + scale h(rate x), h = tanh where `hyperbolic`, else arctan; scale and rate are powers of two."""

    hyperbolic: bool
    rate: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def interval(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Bounds of the activation on [lower, upper]."""
        low, high = self._value(lower * self.rate) - _ERROR, self._value(upper * self.rate) + _ERROR
        error = 4 * UNIT * (abs(self.shift) + self.scale)
        return self.shift + self.scale * low - error, self.shift + self.scale * high + error

    def through(
        self, rows: Array, lower: Array, upper: Array, slopes: Sequence[Array], size: Array
    ) -> tuple[Array, Array, Array]:
        """(rows (R, n) on the input, constants (R,), error (R,)) that rows (R, n) on the activation are at least, for
        inputs in [lower, upper] (R or 1, n) with magnitudes up to `size` (n,), by lines of these slopes below and above
        (R or 1, n)."""
        turned, steepest = rows < 0, self.rate * self.scale
        slope = np.clip(np.nan_to_num(np.where(turned, slopes[1], slopes[0])) / steepest, 0.0, 1.0)
        left, right = lower * self.rate, upper * self.rate
        at_left, at_right = self._value(left), self._value(right)
        rise_left, rise_right = self._slope(left, at_left), self._slope(right, at_right)
        low, high = np.where(turned, -right, left), np.where(turned, -left, right)
        first = np.where(turned, -at_right, at_left) - slope * low
        last = np.where(turned, -at_left, at_right) - slope * high
        begins = (low >= 0) | (np.where(turned, rise_right, rise_left) >= slope)
        ends = (high <= 0) & (np.where(turned, rise_left, rise_right) <= slope)
        inner = np.where(begins, first, np.where(ends, last, self._least(slope)))
        reach = np.maximum(np.abs(low), np.abs(high))
        offset = self.scale * (np.minimum(inner, last) - 2 * _ERROR * (1 + reach))
        added = (np.abs(rows) * offset).sum(axis=1) + self.shift * rows.sum(axis=1)
        error = gamma(rows.shape[1] + 8) * (np.abs(rows) @ (2 * size + 3))
        return rows * (slope * steepest), added, error

    def _value(self, x: Array) -> Array:
        """h."""
        if not self.hyperbolic:
            x = np.clip(x, -1e18, 1e18)
            long = np.sqrt(1 + x * x)
            return self._angle(x / long, 1 / long)
        x = np.clip(x, -20.0, 20.0) * 2.0**-_DOUBLINGS
        square, below = x * x, 9.0
        tangent = x / (1 + square / (3 + square / (5 + square / (7 + square / below))))
        for _ in range(_DOUBLINGS):
            tangent = 2 * tangent / (1 + tangent * tangent)
        return tangent

    def _slope(self, x: Array, value: Array) -> Array:
        """h' where h is `value`."""
        slope: Array = 1 - value * value if self.hyperbolic else 1 / (1 + np.square(np.clip(x, -1e18, 1e18)))
        return slope

    def _least(self, slope: Array) -> Array:
        """min over x <= 0 of h(x) - slope x, or less."""
        sine, cosine = np.sqrt(1 - slope), np.sqrt(slope)
        if not self.hyperbolic:
            least: Array = cosine * sine - self._angle(sine, cosine)
        else:
            cosine = np.sqrt(np.maximum(slope, _FLATTEST))  # the angle grows as the slope falls
            least = slope * self._angle(sine / cosine, 1 / cosine) - sine
        return least

    def _angle(self, sine: Array, cosine: Array) -> Array:
        """a of sin a and cos a >= 0, or of sinh a and cosh a."""
        for _ in range(_HALVINGS):
            cosine = np.sqrt((1 + cosine) / 2)
            sine = sine / (2 * cosine)
        tangent = sine / cosine
        square = tangent * tangent if self.hyperbolic else -tangent * tangent
        total = np.full_like(square, 1 / (2 * _TERMS + 1))
        for term in reversed(range(_TERMS)):
            total = total * square + 1 / (2 * term + 1)
        angle: Array = tangent * total * 2.0**_HALVINGS
        return angle


TANH, ARCTAN = Curve(hyperbolic=True), Curve(hyperbolic=False)
SIGMOID = Curve(hyperbolic=True, rate=0.5, scale=0.5, shift=0.5)
