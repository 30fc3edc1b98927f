"""Lines around smooth activations with the place where they touch left open, for bounds that are optimised.

The convex envelope of f on [l, u] is f itself between two points t1 and t2: every tangent there is a line below f, and
for some row the best one. A place p in [0, 1] stands for the tangent at t1 + p (t2 - t1); likewise above. Where there
are no such points (the chord is the envelope), and where f has a kink, the line is that of CROWN.

Gradient. A row entry a times the tangent at t, taken where the bound is attained (z*), changes by a f''(t) (z* - t) dt.
On the side that a takes, a f'' >= 0: so |a| (z* - t) points the right way, and its scale means nothing to Adam.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.elementwise import Elementwise
from verifiers.graph.ops import Op

from ..relaxations.curves import curve_lines, settled
from ..relaxations.shapes import Curve, curve_of
from ..relaxations.tangents import tangent_offsets, touching_range


@dataclass(frozen=True)
class Touching:
    """The lines around `curve` on [lower, upper], (R or 1, *shape). All else (R or 1, 2, *shape): for lines below (0)
    and above (1). Tangents touch between first and last where `free`, else the line is fixed_slope z + fixed_offset;
    begin: p of CROWN's line. unsettled: (R or 1, *shape), where a smaller interval gains something."""

    curve: Curve
    lower: Tensor
    upper: Tensor
    first: Tensor
    last: Tensor
    free: Tensor
    fixed_slope: Tensor
    fixed_offset: Tensor
    begin: Tensor
    unsettled: Tensor

    def _tensors(self) -> list[Tensor]:
        return [values for name, values in vars(self).items() if name != "curve"]

    def take(self, rows: Tensor) -> Touching:
        return self if len(self.lower) == 1 else Touching(self.curve, *(values[rows] for values in self._tensors()))

    def where(self, mask: Tensor, other: Touching) -> Touching:
        """This where `mask` (R, *shape), `other` elsewhere."""
        both, pairs = mask[:, None], zip(self._tensors(), other._tensors(), strict=True)
        return Touching(
            self.curve,
            *(torch.where(mask if one.dim() == mask.dim() else both, one, another) for one, another in pairs),
        )

    def to(self, dtype: torch.dtype) -> Touching:
        """In another precision: for searching only."""
        cast = (values.to(dtype) if values.is_floating_point() else values for values in self._tensors())
        return Touching(self.curve, *cast)

    def lines(self, places: Tensor, above: Tensor, exact: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(slope, offset, where it touches), each (R, *shape), of the line above or below, whichever is asked for.

        places: (R or 1, 2, *shape); exact: whether the lines hold in real arithmetic (float64 only).
        """
        first, last = self._side(self.first, above), self._side(self.last, above)
        touch = torch.minimum(first + self._side(places, above) * (last - first), last)
        free, slope = self._side(self.free, above), self.curve.slope(touch)
        if exact:
            # a NaN is no bound
            offset = tangent_offsets(self.curve, self.lower, self.upper, above, slope, touch)
        else:
            offset = self.curve.value(touch) - slope * touch
        slope = torch.where(free, slope, self._side(self.fixed_slope, above))
        return slope, torch.where(free, offset, self._side(self.fixed_offset, above)), touch

    def direction(self, rows: Tensor, touch: Tensor, values: Tensor) -> Tensor:
        """Where to move the places, (R, 2, *shape): row entries and values (R, *shape) of the activation's input."""
        above = rows < 0
        along = rows.abs() * (self._side(self.last, above) - self._side(self.first, above)) * (values - touch)
        along = torch.where(self._side(self.free, above), along, 0.0)
        return torch.stack([torch.where(above, 0.0, along), torch.where(above, along, 0.0)], dim=1)

    def furthest(self, gamma: Tensor) -> Tensor:
        """The largest gamma z (R,) on the interval for multipliers (R, *shape): what is left of gamma z is <= 0."""
        return (gamma.clamp(min=0) * self.upper + gamma.clamp(max=0) * self.lower).flatten(1).sum(dim=1)

    def outside(self, signs: Tensor, values: Tensor) -> Tensor:
        """How far values (R, *shape) lie beyond the end that a multiplier of this sign is for: its gradient."""
        return values - torch.where(signs > 0, self.upper, self.lower)

    def _side(self, both: Tensor, above: Tensor) -> Tensor:
        return torch.where(above, both[:, 1], both[:, 0])


def touching(op: Op, lower: Tensor, upper: Tensor) -> Touching:
    """The lines around `op` on [lower, upper] (R or 1, *shape), float64. Raises `Unsupported` if it is no smooth
    curve."""
    curve = curve_of(op) if isinstance(op, Elementwise) else None
    if curve is None or not isinstance(op, Elementwise):
        raise Unsupported(f"{op.name} has no tangents")
    lines = curve_lines(op, lower, upper)
    first, last, free = touching_range(curve, lower, upper)
    slope = torch.stack([lines.lower_slope, lines.upper_slope])
    offset = torch.stack([lines.lower_offset, lines.upper_offset])
    free = free & first.isfinite() & last.isfinite()
    first, last = torch.where(free, first, lower), torch.where(free, last, lower)
    begin = _place(curve, slope, first, last)
    sides = (part.movedim(0, 1) for part in (first, last, free, slope, offset, begin))
    first, last, free, slope, offset, begin = sides
    return Touching(curve, lower, upper, first, last, free, slope, offset, begin, ~settled(op, lower, upper))


def cut_at(lower: Tensor, upper: Tensor) -> Tensor:
    """Where to split an interval of a smooth activation: as near to 0, where many bend the other way, as leaves a
    quarter of it on each side."""
    middle, quarter = lower / 2 + upper / 2, upper / 4 - lower / 4
    return torch.maximum(torch.minimum(torch.zeros_like(middle), middle + quarter), middle - quarter)


def lines_and_halves(op: Op, lower: Tensor, upper: Tensor) -> tuple[Touching, Touching, Touching]:
    """The lines on [lower, upper], and those on both sides of `cut_at`; the halves share the cut, so that they cover
    the interval."""
    cut = cut_at(lower, upper)
    return touching(op, lower, upper), touching(op, lower, cut), touching(op, cut, upper)


def _place(curve: Curve, slope: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """p in [0, 1] where the tangent has about this slope, by bisection: it rises or falls between the ends."""
    low, high = torch.zeros_like(slope), torch.ones_like(slope)
    rising = curve.slope(last) > curve.slope(first)
    for _ in range(12):
        middle = (low + high) / 2
        before = (curve.slope(first + middle * (last - first)) < slope) == rising
        low, high = torch.where(before, middle, low), torch.where(before, high, middle)
    return (low + high) / 2
