"""Rows grouped the way people read them: a cell is one method on one model in one setting, with its inputs.

Of rows that differ only in things a reader cannot see (an older limit, older weights, older code) the newest counts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from .. import journal
from ..core.registry import catalog
from ..rows import Row
from ..scores import times
from .names import radius_text, setting_slug, setting_text, slug
from .status import status_of

_SHOWN_TASKS = ("verify", "radius", "certify")


@dataclass(frozen=True, order=True)
class Contender:
    """A method with its parameters and, for a certifier, its noise: what competes in a ranking."""

    method: str
    parameters: str = "{}"
    noise: str = ""

    @property
    def label(self) -> str:
        parameters: dict[str, Any] = msgspec.json.decode(self.parameters)
        said = ["decided early" if key == "stopped" else f"{key}={value}" for key, value in parameters.items()]
        return ", ".join([self.method, *([self.noise] if self.noise else []), *said])

    @property
    def slug(self) -> str:
        if self.parameters == "{}" and not self.noise:
            return slug(self.method)
        return f"{slug(self.method)}-{hashlib.sha256((self.parameters + self.noise).encode()).hexdigest()[:6]}"


@dataclass(frozen=True, order=True)
class Setting:
    """What is asked: data set, norm and radius (None where the radius is the answer)."""

    dataset: str
    norm: str
    radius: float | None

    @property
    def slug(self) -> str:
        return setting_slug(self.dataset, self.norm, self.radius)

    @property
    def text(self) -> str:
        return setting_text(self.dataset, self.norm, self.radius)

    @property
    def radius_text(self) -> str:
        return "" if self.radius is None else radius_text(self.radius)


@dataclass(frozen=True)
class Cell:
    """One contender on one model of one suite in one setting. `rows` are ordered by input, one per input."""

    suite: str
    task: str
    setting: Setting
    model: str
    contender: Contender
    rows: tuple[Row, ...]
    statuses: tuple[str, ...] = field(repr=False)

    @cached_property
    def counts(self) -> dict[str, int]:
        counted: dict[str, int] = defaultdict(int)
        for status in self.statuses:
            counted[status] += 1
        return dict(counted)

    @property
    def id(self) -> str:
        """Names the cell inside its (suite, model); stands in addresses."""
        parts = self.setting.norm if self.setting.radius is None else f"{self.setting.norm}-{self.setting.radius_text}"
        return f"{self.contender.slug}@{parts.replace('/', '_')}"

    @property
    def question(self) -> str:
        """The setting, with what is asked where that is not one radius; answers to one question can be compared."""
        return self.setting.text + {"radius": ", largest radius", "certify": ", smoothed classifier"}.get(self.task, "")

    @property
    def verified(self) -> int:
        return self.counts.get("verified", 0)

    @property
    def unsupported(self) -> str:
        """Why the method does not apply, if it answered so for every input; empty otherwise."""
        if self.counts.get("unsupported", 0) < len(self.rows):
            return ""
        return str(self.rows[0].stats.get("reason") or "no reason given")

    @cached_property
    def seconds(self) -> float | None:
        """Mean wall seconds of the inputs that were tried."""
        return times(self.rows).mean

    @property
    def shared(self) -> bool:
        return any(row.shared for row in self.rows)

    def verified_within(self, seconds: float) -> int:
        """Inputs verified in at most `seconds` each."""
        return sum(s == "verified" and r.seconds <= seconds for r, s in zip(self.rows, self.statuses, strict=True))


def family_of(method: str) -> str:
    """The place in the taxonomy of a recorded method; one that this checkout does not have gets a family of its own."""
    entry = catalog().get(method)
    return entry.info.family if entry else "not in this checkout"


def kind_of(method: str) -> str:
    """verifier, attack or certifier; a method this checkout does not have counts as a verifier."""
    entry = catalog().get(method)
    return entry.info.kind if entry else "verifier"


def noise_text(noise: dict[str, Any] | None) -> str:
    if not noise:
        return ""
    rest = " ".join(f"{key}={value:g}" for key, value in noise.items() if isinstance(value, (int, float)))
    return f"{noise.get('kind', 'noise')} {rest}".strip()


def recorded_suites(results: Path) -> list[str]:
    """Suites that have recorded rows, by name."""
    return sorted({path.parent.parent.name for path in results.glob(f"*/*/{journal.ROWS}")})


def gather(rows: Iterable[Row]) -> list[Cell]:
    """Cells of all rows that answer a question, sorted by suite, setting, model and contender."""
    newest: dict[tuple[Any, ...], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row.task not in _SHOWN_TASKS:
            continue
        parameters = _canonical(row.parameters)
        coordinates = (row.suite, row.task, row.dataset, row.norm, row.radius, row.model, row.method, parameters)
        inputs = newest[(*coordinates, noise_text(row.noise))]
        known = inputs.get(row.index)
        if known is None or row.finished >= known.finished:
            inputs[row.index] = row
    cells = []
    for (suite, task, dataset, norm, radius, model, method, parameters, noise), inputs in newest.items():
        ordered = tuple(inputs[index] for index in sorted(inputs))
        statuses = tuple(status_of(row) for row in ordered)
        setting = Setting(dataset, norm, radius)
        cells.append(Cell(suite, task, setting, model, Contender(method, parameters, noise), ordered, statuses))
    return sorted(cells, key=_order)


def _canonical(parameters: dict[str, Any]) -> str:
    return msgspec.json.encode(parameters, order="sorted").decode() if parameters else "{}"


def _order(cell: Cell) -> tuple[Any, ...]:
    setting = cell.setting
    radius = -1.0 if setting.radius is None else setting.radius
    return (cell.suite, setting.dataset, setting.norm, radius, cell.task, cell.model, cell.contender)
