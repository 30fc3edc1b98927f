"""Ranks and the trend over time, both computed from the same records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..published import Record
from .files import FOLDER, Setting, load, setting_of


@dataclass(frozen=True)
class Ranked:
    """A record with its rank; equal certified accuracies share a rank and are `tied`."""

    rank: int
    tied: bool
    record: Record


@dataclass(frozen=True)
class TrendPoint:
    """One record in time. date: month, or only the year where no more is known; year: the same as a number (a bare
    year counts as its middle); leads: above everything earlier, among the records the trend was asked for."""

    date: str
    year: float
    leads: bool
    record: Record


@dataclass(frozen=True)
class Board:
    """The ranking of one setting."""

    setting: Setting
    entries: tuple[Ranked, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(entry.record for entry in self.entries)


def rank(records: Iterable[Record]) -> list[Ranked]:
    """Highest certified accuracy first; ties share the rank ("1, 2, 2, 4") and stand oldest first."""
    ordered = sorted(records, key=lambda r: (-r.certified_accuracy, _when(r), r.title, r.method))
    accuracies = [record.certified_accuracy for record in ordered]
    return [
        Ranked(accuracies.index(record.certified_accuracy) + 1, accuracies.count(record.certified_accuracy) > 1, record)
        for record in ordered
    ]


def boards(folder: Path = FOLDER) -> list[Board]:
    """One ranking per setting, sorted by data set, norm and radius. Raises `InvalidInput` as `load` does."""
    grouped: dict[Setting, list[Record]] = {}
    for record in load(folder):
        grouped.setdefault(setting_of(record), []).append(record)
    order = sorted(grouped, key=lambda setting: (setting.dataset, setting.norm, setting.eps))
    return [Board(setting, tuple(rank(grouped[setting]))) for setting in order]


def trend(records: Iterable[Record]) -> list[TrendPoint]:
    """Records of one setting in order of time; those without date and year are left out."""
    dated = sorted((r for r in records if r.date or r.year), key=lambda r: (_when(r), -r.certified_accuracy))
    points, best = [], -1.0
    for record in dated:
        leads = record.certified_accuracy > best
        best = max(best, record.certified_accuracy)
        points.append(TrendPoint(record.date or str(record.year), _when(record), leads, record))
    return points


def _when(record: Record) -> float:
    if record.date:
        year, _, month = record.date.partition("-")
        return int(year) + (int(month) - 0.5) / 12
    return float("inf") if record.year is None else record.year + 0.5
