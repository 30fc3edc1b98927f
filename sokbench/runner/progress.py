"""How a run tells what it is doing. The command line shows it as a bar; a program may count along."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, final

from ..rows import Row
from ..suites.series import Batch

_OVERHEAD = 0.003
"""Seconds a job costs beside its own: the round trip, and above all syncing its row to disk."""


class Progress(Protocol):
    """Receives what happens, in the parent's thread."""

    def started(self, run: str, jobs: int) -> None:
        """A run of `jobs` jobs begins; the worker server may take seconds to start."""

    def recorded(self, row: Row, done: int, jobs: int, seconds_left: float) -> None:
        """A row is on disk. seconds_left: an estimate for the rest of the run."""

    def message(self, text: str) -> None:
        """One line for the user, such as a damaged journal line."""


@final
class Silent:
    """A `Progress` that shows nothing."""

    def started(self, run: str, jobs: int) -> None:
        return None

    def recorded(self, row: Row, done: int, jobs: int, seconds_left: float) -> None:
        return None

    def message(self, text: str) -> None:
        return None


@dataclass
class _Pace:
    """Jobs of one method on one model: how many are left, and what the finished ones took."""

    left: int = 0
    finished: int = 0
    seconds: float = 0.0
    prepare_seconds: float = 0.0


@final
@dataclass
class TimeLeft:
    """Estimates the rest of a run: for each method and model the jobs left times their mean time so far, and one
    preparation where none has begun; shared by the jobs that run at the same time. What has not begun is taken to be
    like the same method on other models, else like everything so far."""

    workers: int
    _paces: dict[tuple[str, str], _Pace] = field(default_factory=dict)

    def expect(self, batches: Iterable[Batch]) -> None:
        """These jobs will be run."""
        for batch in batches:
            pace = self._paces.setdefault((batch.series.method, batch.series.model), _Pace())
            pace.left += len(batch.indices)

    def finished(self, row: Row) -> None:
        """One of them is finished."""
        pace = self._paces.setdefault((row.method, row.model), _Pace())
        pace.left -= 1
        pace.finished += 1
        pace.seconds += row.seconds + _OVERHEAD
        pace.prepare_seconds = row.prepare_seconds

    def seconds(self) -> float:
        """Estimated seconds until everything expected is finished."""
        per_method: dict[str, _Pace] = {}
        total = _Pace()
        for (method, _), pace in self._paces.items():
            for sums in (per_method.setdefault(method, _Pace()), total):
                sums.finished += pace.finished
                sums.seconds += pace.seconds
        begun = [pace.prepare_seconds for pace in self._paces.values() if pace.finished]
        preparation = statistics.fmean(begun) if begun else 0.0
        left = 0.0
        for (method, _), pace in self._paces.items():
            known = next((one for one in (pace, per_method[method], total) if one.finished), None)
            if known is not None and pace.left:
                left += pace.left * known.seconds / known.finished + (0.0 if pace.finished else preparation)
        return left / self.workers
