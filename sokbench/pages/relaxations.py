"""What a bounding method makes of one ReLU, drawn by the method's own code for three intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ..core.registry import Entry, component
from .svg import chart

CASES = ((-1.0, 2.0), (-1.5, 1.5), (-2.0, 1.0))
_DRAWN_FAMILIES = ("interval", "linear relaxation")


@dataclass(frozen=True)
class Drawing:
    caption: str
    chart: Markup


def drawings(method: Entry) -> list[Drawing]:
    """One drawing per case, for methods that run a plan of the bound engine; none for others.

    A method's plan names the relaxation; a plan without one bounds a ReLU by the constants at the ends of the interval.
    """
    if method.info.family not in _DRAWN_FAMILIES:
        return []
    plan = getattr(method.load(), "plan", None)
    if plan is None:
        return []
    relaxations = component("verifiers.bounds.relaxations.relu")
    chosen = component("verifiers.bounds.plans").plan_of(plan).relaxation or relaxations.INTERVAL
    return [_draw(chosen.relu, lower, upper) for lower, upper in CASES]


def _draw(relu: Any, lower: float, upper: float) -> Drawing:
    import torch

    bounds = (torch.tensor([lower], dtype=torch.float64), torch.tensor([upper], dtype=torch.float64))
    low_slope, low_offset, high_slope, high_offset = (float(value) for value in relu(*bounds))
    name = f"l = {lower:g}, u = {upper:g}"
    drawn = chart((-2.4, 2.4), (-2.2, 2.4), f"ReLU and its two lines for {name}", width=300, height=250)
    ticks = [(value, f"{value:g}") for value in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    drawn.axes(ticks, ticks, "z", "")

    def ends(slope: float, offset: float) -> list[tuple[float, float]]:
        return [(lower, slope * lower + offset), (upper, slope * upper + offset)]

    below, above = ends(low_slope, low_offset), ends(high_slope, high_offset)
    drawn.area([*below, *reversed(above)], "region")
    drawn.line([(-2.4, 0.0), (0.0, 0.0), (2.4, 2.4)], "curve-exact")
    drawn.line(below, "curve-lower")
    drawn.line(above, "curve-upper")
    equations = f"{_line(low_slope, low_offset)} ≤ ReLU(z) ≤ {_line(high_slope, high_offset)}"
    return Drawing(f"{name}: {equations}", drawn.render())


def _line(slope: float, offset: float) -> str:
    """Such as 0.67 z + 0.67; rounding errors of a 1 ulp kind are not shown."""
    slope, offset = round(slope, 2), round(offset, 2)
    if slope == 0:
        return f"{offset:g}"
    first = "z" if slope == 1 else f"{slope:g} z"
    return first if offset == 0 else f"{first} {'+' if offset > 0 else '−'} {abs(offset):g}"
