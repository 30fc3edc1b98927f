"""Runs a plan: one job at a time on this machine, or several, spread by joblib.

Rows are on disk before they are reported, so a run may be ended at any time and in any way; the same command goes on
where it stopped.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import journal, provenance
from ..core.errors import InvalidInput, UnknownName
from ..journal import Journal
from ..parts import PARTS
from ..rows import Row
from .progress import Progress, Silent, TimeLeft
from .recording import Stamp
from .session import Session
from .spread import BACKENDS, WorkerLost, run_spread
from .workers import Zygote

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class Summary:
    """How a run ended. run: its name, "" if there was nothing to do; done: rows it recorded; left: jobs that are still
    pending; interrupted: why it stopped early, or ""."""

    run: str
    done: int
    left: int
    interrupted: str = ""

    def __str__(self) -> str:
        if not self.run:
            return "nothing to run: every job is recorded"
        if not self.left:
            return f"{self.done} jobs recorded in {self.run}"
        reason = self.interrupted or "not all jobs were run"
        return f"{reason}: {self.done} jobs recorded in {self.run}, {self.left} left; the same command goes on there"


def run(
    plan: Plan,
    jobs: int = 1,
    backend: str = "loky",
    progress: Progress = Silent(),  # noqa: B008  (it has no state)
    command: list[str] | None = None,
) -> Summary:
    """Run what is pending and record it under `plan.results`.

    jobs: how many at a time; more than one marks the rows as shared, because their times are no benchmark
    backend: what spreads the jobs if there are several: loky (this machine), dask or ray (extras)
    command: what to record as the command; `sys.argv` by default
    Ctrl-C, or the loss of a joblib worker, ends it cleanly, with `Summary.interrupted`. Raises `InvalidInput` if
    results cannot be written, or for a backend that is unknown or not installed.
    """
    if jobs < 1:
        raise InvalidInput(f"the number of jobs must be at least 1, not {jobs}")
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)
    if plan.pending == 0:
        return Summary("", 0, 0)
    name = provenance.new_run_name()
    folder = plan.results / plan.suite.name / name
    record = provenance.describe_run(name, plan.suite, plan.expansion, sys.argv if command is None else command)
    stamp = Stamp(name, plan.suite.name, shared=jobs > 1)
    interrupted = ""
    with closing(Journal(folder)) as rows, closing(Journal(folder, PARTS)) as parts:
        journal.write_run(folder, record)
        progress.started(name, plan.pending)
        counter = _Counter(plan, jobs, progress)
        try:
            if jobs == 1:
                _run_here(plan, stamp, rows, parts, counter)
            else:
                run_spread(plan, stamp, rows, jobs, backend, counter.recorded)
        except KeyboardInterrupt:
            interrupted = "interrupted"
        except WorkerLost as loss:
            interrupted = str(loss)
        done = rows.lines()
    return Summary(name, done, plan.pending - done, interrupted)


class _Counter:
    """Counts what is recorded and tells the user."""

    def __init__(self, plan: Plan, jobs: int, progress: Progress) -> None:
        self._done, self._jobs = 0, plan.pending
        self._progress, self._time_left = progress, TimeLeft(jobs)
        for group in plan.groups:
            self._time_left.expect(group.batches)

    def recorded(self, row: Row) -> None:
        self._done += 1
        self._time_left.finished(row)
        self._progress.recorded(row, self._done, self._jobs, self._time_left.seconds())


def _run_here(plan: Plan, stamp: Stamp, rows: Journal, parts: Journal, counter: _Counter) -> None:
    def deliver(row: Row) -> None:
        rows.append(row)
        counter.recorded(row)

    with Zygote() as zygote:
        session = Session(zygote, stamp, plan.sampled, deliver, plan.parts, parts.append)
        for group in plan.groups:
            session.run(group.batches)
