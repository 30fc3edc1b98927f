"""Runs a plan: one job at a time on this machine, or groups of jobs spread by joblib.

Rows are on disk before they are reported, so a run may be ended at any time and in any way; the same command goes on
where it stopped.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from .. import journal, provenance
from ..core.errors import InvalidInput, UnknownName
from ..journal import Journal
from ..rows import Array, Row
from ..suites.series import Batch
from .keys import Keys
from .progress import Progress, Silent, TimeLeft
from .recording import Stamp
from .session import Session
from .workers import Zygote

if TYPE_CHECKING:
    from .plan import Plan

BACKENDS: Final = ("loky", "dask", "ray")
_CHUNKS_PER_WORKER: Final = 4


@dataclass(frozen=True)
class Summary:
    """How a run ended. run: its name, "" if there was nothing to do; done: rows recorded; left: jobs still pending;
    interrupted: why it stopped early, or ""."""

    run: str
    done: int
    left: int
    interrupted: str = ""


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
    Ctrl-C ends it cleanly, with `Summary.interrupted`. Raises `InvalidInput` if results cannot be written, or for a
    backend that is unknown or not installed.
    """
    _check(jobs, backend)
    if plan.pending == 0:
        return Summary("", 0, 0)
    name = provenance.new_run_name()
    folder = plan.results / plan.suite.name / name
    record = provenance.describe_run(name, plan.suite, plan.expansion, sys.argv if command is None else command)
    with closing(Journal(folder)) as rows:
        journal.write_run(folder, record)
        progress.started(name, plan.pending)
        counter = _Counter(plan, jobs, progress)
        stamp = Stamp(name, plan.suite.name, shared=jobs > 1)
        try:
            if jobs == 1:
                _run_here(plan, stamp, rows, counter)
            else:
                _run_spread(plan, stamp, rows, counter, jobs, backend)
        except KeyboardInterrupt:
            counter.interrupted = "interrupted"
    return Summary(name, counter.done, plan.pending - counter.done, counter.interrupted)


class _Counter:
    """Counts what is recorded and tells the user."""

    def __init__(self, plan: Plan, jobs: int, progress: Progress) -> None:
        self.done, self._jobs, self.interrupted = 0, plan.pending, ""
        self._progress, self._time_left = progress, TimeLeft(jobs)
        for group in plan.groups:
            self._time_left.expect(group.batches)

    def recorded(self, row: Row) -> None:
        self.done += 1
        self._time_left.finished(row)
        self._progress.recorded(row, self.done, self._jobs, self._time_left.seconds())


def _run_here(plan: Plan, stamp: Stamp, rows: Journal, counter: _Counter) -> None:
    def deliver(row: Row) -> None:
        rows.append(row)
        counter.recorded(row)

    with Zygote() as zygote:
        session = Session(zygote, stamp, plan.counts, deliver)
        for group in plan.groups:
            session.run(group.batches)


class Chunk(msgspec.Struct, frozen=True):
    """Jobs for one joblib worker. folder: of the run, where the worker appends if it sees the same disk."""

    batches: tuple[Batch, ...]
    counts: dict[str, Array]
    stamp: Stamp
    folder: str


class Done(msgspec.Struct, frozen=True):
    """What a joblib worker did. recorded: it has appended the rows itself."""

    rows: list[Row]
    recorded: bool


def _run_spread(plan: Plan, stamp: Stamp, rows: Journal, counter: _Counter, jobs: int, backend: str) -> None:
    from joblib import Parallel, delayed

    _register(backend)
    chunks = list(_chunks(plan, stamp, rows.path.parent, jobs))
    with Parallel(n_jobs=jobs, backend=backend, return_as="generator_unordered", batch_size=1) as parallel:
        try:
            for done in parallel(delayed(run_chunk)(chunk) for chunk in chunks):
                for row in done.rows:
                    if not done.recorded:
                        rows.append(row)
                    counter.recorded(row)
        finally:
            _shut_down(backend)


def _chunks(plan: Plan, stamp: Stamp, folder: Path, jobs: int) -> Iterator[Chunk]:
    """Groups in pieces, so that every worker has some; an input's sampling pass and certificates stay together."""
    target = max(1, -(-plan.pending // (jobs * _CHUNKS_PER_WORKER)))
    for group in plan.groups:
        pieces = max(1, round(group.jobs / target))
        for piece in range(pieces):
            batches = tuple(part for batch in group.batches if (part := _piece(batch, piece, pieces)).indices)
            if batches:
                yield Chunk(batches, _counts_for(batches, plan), stamp, str(folder.resolve()))


def _piece(batch: Batch, piece: int, pieces: int) -> Batch:
    pairs = zip(batch.indices, batch.labels, strict=True)
    chosen = [pair for pair in pairs if pair[0] % pieces == piece]
    return Batch(batch.series, tuple(index for index, _ in chosen), tuple(label for _, label in chosen))


def _counts_for(batches: tuple[Batch, ...], plan: Plan) -> dict[str, Array]:
    found = {}
    for batch in batches:
        if batch.series.counts is not None:
            keys = map(Keys(batch.series.counts).of, batch.indices)
            found.update({key: plan.counts[key] for key in keys if key in plan.counts})
    return found


def run_chunk(chunk: Chunk) -> Done:
    """What a joblib worker executes: the chunk's jobs, one at a time, each in a killable process of its own."""
    folder = Path(chunk.folder)
    shared_disk = (folder / journal.RUN).is_file()
    rows: list[Row] = []
    own = Journal(folder) if shared_disk else None
    try:

        def deliver(row: Row) -> None:
            if own is not None:
                own.append(row)
            rows.append(row)

        Session(_ZYGOTES.mine(), chunk.stamp, chunk.counts, deliver).run(chunk.batches)
    finally:
        if own is not None:
            own.close()
    return Done(rows, own is not None)


class _Zygotes(threading.local):
    """One zygote per thread of a joblib worker, kept from chunk to chunk: starting one imports torch."""

    _zygote: Zygote | None = None

    def mine(self) -> Zygote:
        if self._zygote is None:
            self._zygote = Zygote()
        return self._zygote


_ZYGOTES = _Zygotes()


def _check(jobs: int, backend: str) -> None:
    if jobs < 1:
        raise InvalidInput(f"the number of jobs must be at least 1, not {jobs}")
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)


def _register(backend: str) -> None:
    """Make joblib know the backend. Raises `InvalidInput` if its package is missing."""
    try:
        if backend == "dask":
            from distributed import Client, default_client

            try:
                default_client()
            except ValueError:
                Client()
        elif backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
    except ImportError:
        raise InvalidInput(f'the backend {backend} is not installed: pip install "sokbench[{backend}]"') from None


def _shut_down(backend: str) -> None:
    if backend == "loky":
        from joblib.externals.loky import get_reusable_executor

        # the zygotes of loky's workers end with them
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
