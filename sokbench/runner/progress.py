"""How a run tells what it is doing. The command line shows it as a bar; a program may count along."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, final

from ..rows import Row
from ..suites.series import Batch


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


@final
@dataclass
class TimeLeft:
    """Estimates the rest of a run: the mean time of the same method on the same model, else of the same method, else
    of everything so far, times the jobs left, over the jobs that run at the same time."""

    workers: int
    _paces: dict[tuple[str, str], _Pace] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def expect(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            pace = self._paces.setdefault((batch.series.method, batch.series.model), _Pace())
            pace.left += len(batch.indices)

    def finished(self, row: Row) -> None:
        pace = self._paces.setdefault((row.method, row.model), _Pace())
        pace.left -= 1
        pace.finished += 1
        # with one worker the wall clock also counts starting workers and preparing methods
        now = time.monotonic()
        pace.seconds += now - self._last if self.workers == 1 else row.seconds
        self._last = now

    def seconds(self) -> float:
        """Estimated seconds until everything expected is finished."""
        per_method: dict[str, _Pace] = {}
        total = _Pace()
        for (method, _), pace in self._paces.items():
            for sums in (per_method.setdefault(method, _Pace()), total):
                sums.finished += pace.finished
                sums.seconds += pace.seconds
        left = 0.0
        for (method, _), pace in self._paces.items():
            known = next((one for one in (pace, per_method[method], total) if one.finished), None)
            left += pace.left * known.seconds / known.finished if known else 0.0
        return left / self.workers
