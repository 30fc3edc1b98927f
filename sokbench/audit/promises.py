"""Answers against each other: a method at several radii, and methods that theory puts in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..core.registry import catalog
from ..rows import Row
from .finding import Finding, asked, finding

SLACK = {"verify": 1e-4, "radius": 2e-3, "certify": 1e-9}
"""Relative difference up to which a value counts as not below another, by task: bounds are rounded outward by different
amounts, a radius search stops within 0.001 of its end. This decides about a warning, never about a verdict."""


def check_radii(rows: Sequence[Row]) -> Iterator[Finding]:
    """Verified at a radius, but unknown at a smaller one although the method finished, or above its own search."""
    for together in _same(rows, lambda row: [row.method, row.parameters, row.norm, row.low, row.high]):
        verified = [row for row in together if row.verdict == "verified" and row.radius is not None]
        if not verified:
            continue
        largest = max(verified, key=_radius)
        for row in together:
            if row.termination != "ok":
                continue
            if row.verdict == "unknown" and row.task == "verify" and _radius(row) < _radius(largest):
                message = f"{asked(row)}: unknown, but verified at {largest.radius:g}"
                yield finding("not_monotone", message, row, largest)
            refuted = row.stats.get("refuted")
            if row.task == "radius" and isinstance(refuted, (int, float)) and _radius(largest) > refuted:
                message = f"{asked(row)}: not certified at {refuted:g}, but verified at {largest.radius:g}"
                yield finding("not_monotone", message, row, largest)


def check_promises(rows: Sequence[Row]) -> Iterator[Finding]:
    """Bounds below those of a method that theory says is never tighter, on the same problem."""
    infos = {slug: entry.info for slug, entry in catalog().items()}
    for together in _same(rows, lambda row: [row.task, row.norm, row.radius, row.low, row.high]):
        finished = [row for row in together if row.termination == "ok" and _value(row) is not None]
        for row in finished:
            weaker = infos[row.method].tighter_than if row.method in infos else ()
            for other in finished:
                if other.method in weaker and _below(row, other):
                    message = f"{asked(row)}: {_value(row):g} is below the {_value(other):g} of {other.method}"
                    yield finding("looser_than_promised", message, row, other)


def _same(rows: Sequence[Row], identity: Any) -> Iterator[list[Row]]:
    groups: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        groups[msgspec.json.encode(identity(row), order="deterministic")].append(row)
    yield from groups.values()


def _radius(row: Row) -> float:
    return row.radius if row.radius is not None else 0.0


def _value(row: Row) -> float | None:
    """What a method proves: a bound of the margin, or a radius. None where it proves neither."""
    if row.verdict == "falsified":
        return None
    return row.margin if row.task == "verify" else row.certified_radius


def _below(row: Row, other: Row) -> bool:
    mine, its = _value(row), _value(other)
    return mine is not None and its is not None and mine < its - SLACK[row.task] * (1 + abs(its))
