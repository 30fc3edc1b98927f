"""Claims about one input against evidence: witnesses, verified balls, certified radii, lower bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..core.registry import catalog
from ..rows import Row
from .evidence import Scene
from .finding import Finding, asked, finding

ROUNDING = 1e-9
"""Relative error allowed to a float64 evaluation of a network, as in `sokbench.core.evaluation`."""


def check_claims(scene: Scene) -> Iterator[Finding]:
    """Findings about the verify and radius rows of one input."""
    for row in scene.rows:
        yield from _numbers(row)
        if scene.label is not None and row.label != scene.label:
            yield finding("wrong_label", f"{asked(row)}: label {row.label}, the data set says {scene.label}", row)
        if row.verdict == "falsified":
            yield from _witness(scene, row)
        if row.verdict == "verified" and row.method in catalog("attack"):
            yield finding("attack_verifies", f"{asked(row)}: an attack cannot verify", row)
        if row.verdict == "verified" and row.radius is not None:
            yield from _conflicts(scene, row, row.radius, "verified")
        if row.certified_radius is not None and 0 < row.certified_radius < math.inf:
            yield from _conflicts(scene, row, row.certified_radius, f"certified up to {row.certified_radius:g}")
        if row.margin is not None and row.radius is not None:
            yield from _losses(scene, row, row.margin, row.radius)


def _numbers(row: Row) -> Iterator[Finding]:
    radius = row.certified_radius
    if radius is not None and not (math.isfinite(radius) and radius >= 0):
        yield finding("bad_number", f"{asked(row)}: certified radius {radius}", row)
    if row.margin is not None and not math.isfinite(row.margin):
        yield finding("bad_number", f"{asked(row)}: margin {row.margin}", row)


def _witness(scene: Scene, row: Row) -> Iterator[Finding]:
    if row.witness is None:
        yield finding("missing_witness", f"{asked(row)}: falsified without a witness", row)
    elif scene.x is not None:
        own = [point for point in scene.points if point.row is row]
        inside = row.radius is not None and any(point.row is row for point in scene.inside(row, row.radius))
        if not own:
            yield finding("bad_witness", f"{asked(row)}: the witness has the shape {row.witness.shape}", row)
        elif not own[0].margin <= 0:
            yield finding("bad_witness", f"{asked(row)}: the witness has the margin {own[0].margin:g} > 0", row)
        elif not inside:
            yield finding("bad_witness", f"{asked(row)}: the witness lies outside the ball or the box", row)


def _conflicts(scene: Scene, row: Row, radius: float, claim: str) -> Iterator[Finding]:
    """At most one: the first misclassified point in the ball proves the claim wrong."""
    for point in scene.inside(row, radius):
        if point.margin <= 0:
            message = f"{asked(row)}: {claim}, but {point} is misclassified (margin {point.margin:g})"
            yield finding("conflict", message, row, *(() if point.row is None else (point.row,)))
            return


def _losses(scene: Scene, row: Row, margin: float, radius: float) -> Iterator[Finding]:
    """At most one: the least margin attained in the ball must not be below the bound."""
    attained = [(point.margin, point.row) for point in scene.inside(row, radius)]
    attained += [(other.stats["attained_margin"], other) for other in scene.rows if _attacks_within(other, row)]
    if not attained:
        return
    least, other = min(attained, key=lambda pair: pair[0])
    if margin > least + ROUNDING * (1 + abs(least)):
        found = "the input itself" if other is None else other.method
        others = () if other is None or other is row else (other,)
        message = f"{asked(row)}: bound {margin:g}, but {found} attains the margin {least:g}"
        yield finding("bound_above_loss", message, row, *others)


def _attacks_within(other: Row, row: Row) -> bool:
    """Whether `other` attained a margin at a point that must lie in the ball of `row`."""
    if not isinstance(other.stats.get("attained_margin"), (int, float)) or other.radius is None or row.radius is None:
        return False
    low = row.low is None or (other.low is not None and other.low >= row.low)
    high = row.high is None or (other.high is not None and other.high <= row.high)
    return other.norm == row.norm and other.radius <= row.radius and low and high
