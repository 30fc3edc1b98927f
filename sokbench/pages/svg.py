"""Small SVG charts written by hand: every mark has a link and a tooltip, colours come from the style sheet (so dark
mode works), and the bytes depend on the data alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 44, 20, 10, 38
NO_FACETS: Final = Markup("")
MARKERS: Final = ("circle", "square", "triangle", "diamond", "down", "plus", "cross", "star")


@dataclass(frozen=True)
class Scale:
    """Maps values to a pixel range; log scales clamp what is not positive to their lower end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass
class Chart:
    """Collects marks over two scales; `render` gives the SVG element."""

    x: Scale
    y: Scale
    width: int
    height: int
    title: str
    css: str = "chart"
    parts: list[Markup] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x: str, y: str) -> None:
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        for value, text in y_ticks:
            place = self.y(value)
            self._add('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', LEFT, right, place, place)
            self._add('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>', LEFT - 6, place + 4, text)
        for value, text in x_ticks:
            place = self.x(value)
            self._add('<line class="tickmark" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, bottom, bottom + 4)
            self._add('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>', place, bottom + 16, text)
        self._add('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', LEFT, right, bottom, bottom)
        self._add('<text class="axisname" x="{}" y="{}" text-anchor="end">{}</text>', right, self.height - 6, x)
        self._add(
            '<text class="axisname" x="{}" y="{}" transform="rotate(-90 10 {})" text-anchor="end">{}</text>',
            10, TOP, TOP, y,
        )  # fmt: skip

    def line(
        self, points: Sequence[tuple[float, float]], css: str, step: bool = False, facets: Markup = NO_FACETS
    ) -> None:
        """A polyline; with `step`, horizontal first, as a best-so-far curve is."""
        if len(points) < 2:
            return
        path = f"M{self.x(points[0][0])} {self.y(points[0][1])}"
        for x, y in points[1:]:
            path += f"H{self.x(x)}V{self.y(y)}" if step else f"L{self.x(x)} {self.y(y)}"
        self._add('<path class="{}" d="{}" {}/>', css, path, facets)

    def area(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """A filled polygon."""
        self._add('<path class="{}" d="M{}Z"/>', css, "L".join(f"{self.x(x)} {self.y(y)}" for x, y in points))

    def interval(self, x: float, low: float, high: float, css: str, facets: Markup = NO_FACETS) -> None:
        place, ends = self.x(x), (self.y(low), self.y(high))
        self._add('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}" {}/>', css, place, place, *ends, facets)

    def interval_across(self, low: float, high: float, y: float, css: str) -> None:
        place, ends = self.y(y), (self.x(low), self.x(high))
        self._add('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>', css, *ends, place, place)

    def mark(
        self, x: float, y: float, marker: str, css: str, tip: str, href: str = "", facets: Markup = NO_FACETS
    ) -> None:
        """One point, as a link if `href` is given; `facets` are the data attributes that filters look at."""
        at_x, at_y = self.x(x), self.y(y)
        self.boxes.append((at_x - 5, at_y - 5, at_x + 5, at_y + 5))
        shape = Markup('<path class="{}" d="{}"/>').format(css, marker_path(marker, at_x, at_y))
        tag = Markup('<a href="{}" class="mark" data-tip="{}" aria-label="{}" {}>{}</a>')
        plain = Markup('<g class="mark" data-tip="{}" role="img" aria-label="{}" {}>{}</g>')
        if href:
            self.parts.append(tag.format(href, tip, tip, facets, shape))
        else:
            self.parts.append(plain.format(tip, tip, facets, shape))

    def label(self, x: float, y: float, text: str, css: str = "label", facets: Markup = NO_FACETS) -> None:
        """Text beside a point, left out where it would cover another mark or text."""
        at_x, at_y, wide = self.x(x), self.y(y), 6.2 * len(text)
        places = ((at_x + 8, at_y - 9), (at_x - 8 - wide, at_y - 9), (at_x - wide / 2, at_y - 22), (at_x + 8, at_y + 2))
        for left, top in places:
            box = (left, top, left + wide, top + 13)
            inside = box[0] >= LEFT and box[2] <= self.width - 2 and box[1] >= 0 and box[3] <= self.height - BOTTOM
            if inside and not any(_overlap(box, other) for other in self.boxes):
                self.boxes.append(box)
                place = (round(left, 1), round(top + 10, 1))
                self._add('<text class="{}" x="{}" y="{}" {}>{}</text>', css, *place, facets, text)
                return

    def render(self) -> Markup:
        head = Markup('<svg class="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">')
        return (
            head.format(self.css, self.width, self.height, self.title) + Markup("").join(self.parts) + Markup("</svg>")
        )

    def _add(self, template: str, *values: object) -> None:
        self.parts.append(Markup(template).format(*values))


def chart(
    x: tuple[float, float], y: tuple[float, float], title: str, width: int = 340, height: int = 250, log: str = ""
) -> Chart:
    """A chart over value ranges; `log` names the logarithmic axes: "", "x" or "xy"."""
    x_scale = Scale(*x, LEFT, width - RIGHT, "x" in log)
    css = "chart broad" if width > 500 else "chart"
    return Chart(x_scale, Scale(*y, height - BOTTOM, TOP, "y" in log), width, height, title, css)


def decades(low: float, high: float) -> tuple[float, float]:
    """The powers of ten around positive values, at least two decades apart."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return 10.0**first, 10.0 ** max(last, first + 2)


def facet_attributes(**facets: str) -> Markup:
    """Data attributes by which the filters of a page show and hide a mark."""
    named = [Markup('data-{}="{}"').format(name, value) for name, value in facets.items()]
    return Markup(" ").join([Markup('data-item=""'), *named])


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def marker_path(marker: str, x: float, y: float) -> str:
    """Path data of a marker around (x, y); all have about the same area."""

    def closed(*points: tuple[float, float]) -> str:
        return "M" + "L".join(f"{round(x + dx, 1)} {round(y + dy, 1)}" for dx, dy in points) + "Z"

    match marker:
        case "square":
            return closed((-3.9, -3.9), (3.9, -3.9), (3.9, 3.9), (-3.9, 3.9))
        case "triangle":
            return closed((0, -5.2), (5, 3.8), (-5, 3.8))
        case "down":
            return closed((0, 5.2), (5, -3.8), (-5, -3.8))
        case "diamond":
            return closed((0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0))
        case "plus":
            s, t = 1.7, 5.2
            return closed(
                (-s, -t),
                (s, -t),
                (s, -s),
                (t, -s),
                (t, s),
                (s, s),
                (s, t),
                (-s, t),
                (-s, s),
                (-t, s),
                (-t, -s),
                (-s, -s),
            )
        case "cross":
            s, t = 2.4, 4.6
            return closed(
                (-t, -t + s), (-t + s, -t), (0, -s), (t - s, -t), (t, -t + s), (s, 0),
                (t, t - s), (t - s, t), (0, s), (-t + s, t), (-t, t - s), (-s, 0),
            )  # fmt: skip
        case "star":
            turn = [(5.8 if k % 2 == 0 else 2.5, math.pi * k / 5 - math.pi / 2) for k in range(10)]
            return closed(*((r * math.cos(angle), r * math.sin(angle)) for r, angle in turn))
        case _:
            r = 4.4
            return f"M{round(x - r, 1)} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
