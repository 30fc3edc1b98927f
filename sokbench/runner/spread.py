"""Several jobs at a time: joblib hands chunks of jobs to its workers, each of which has a zygote of its own.

joblib's own timeout kills nothing, so the limits stay where they are with one job at a time: beside the job.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .. import journal
from ..core.errors import InvalidInput
from ..journal import Journal
from ..parts import PARTS, Part
from ..rows import Row
from ..suites.series import Batch
from .keys import Keys
from .recording import Sampled, Stamp
from .session import Session
from .workers import Zygote

if TYPE_CHECKING:
    from .plan import Group, Plan

BACKENDS: Final = ("loky", "dask", "ray")
_CHUNKS_PER_WORKER: Final = 4


class WorkerLost(Exception):
    """A joblib worker died; what was recorded until then is safe."""


def run_spread(
    plan: Plan, stamp: Stamp, rows: Journal, jobs: int, backend: str, recorded: Callable[[Row], None]
) -> None:
    """Run a plan with `jobs` joblib workers. recorded: called with every row once it is on disk.

    Raises `InvalidInput` for a backend that is not installed, `WorkerLost`.
    """
    chunks = list(_chunks(plan, stamp, rows.path.parent, jobs))
    try:
        with _CLUSTERS[backend](jobs):
            for done in _results(chunks, jobs, backend):
                for row in done.rows:
                    if not done.recorded:
                        rows.append(row)
                    recorded(row)
    except BrokenExecutor:
        raise WorkerLost("a worker process died") from None


def _results(chunks: list[Chunk], jobs: int, backend: str) -> Iterator[Done]:
    """What comes back, as it comes back."""
    from joblib import Parallel, delayed, parallel_config

    # ray's backend hands back nothing before all is done, so it gets a few chunks at a time
    streams = backend != "ray"
    size = len(chunks) if streams else jobs * _CHUNKS_PER_WORKER
    order = "generator_unordered" if streams else "list"
    with parallel_config(backend=backend), Parallel(n_jobs=jobs, return_as=order, batch_size=1) as parallel:
        for first in range(0, len(chunks), size):
            yield from parallel(delayed(run_chunk)(chunk) for chunk in chunks[first : first + size])


class Chunk(msgspec.Struct, frozen=True):
    """Jobs for one joblib worker. folder: of the run, where the worker appends if it sees the same disk."""

    batches: tuple[Batch, ...]
    sampled: dict[str, Sampled]
    parts: dict[str, Part]
    stamp: Stamp
    folder: str


class Done(msgspec.Struct, frozen=True):
    """What a joblib worker did. recorded: it has appended the rows itself."""

    rows: list[Row]
    recorded: bool


def _chunks(plan: Plan, stamp: Stamp, folder: Path, jobs: int) -> Iterator[Chunk]:
    """Groups in pieces, so that every worker has some."""
    target = max(1, -(-plan.pending // (jobs * _CHUNKS_PER_WORKER)))
    for group in plan.groups:
        for batches in _pieces(group, max(1, round(group.jobs / target))):
            yield Chunk(batches, _sampled_for(batches, plan), _parts_for(batches, plan), stamp, str(folder.resolve()))


def _pieces(group: Group, count: int) -> Iterator[tuple[Batch, ...]]:
    """A group in `count` pieces by input, so that an input's sampling pass and certificates stay together."""
    inputs = sorted({index for batch in group.batches for index in batch.indices})
    for piece in range(count):
        chosen = set(inputs[piece::count])
        batches = tuple(batch.restricted(chosen) for batch in group.batches)
        if chosen:
            yield tuple(batch for batch in batches if batch.indices)


def _parts_for(batches: tuple[Batch, ...], plan: Plan) -> dict[str, Part]:
    keys = (Keys(batch.series).of(i) for batch in batches if batch.series.task == "sample" for i in batch.indices)
    return {key: plan.parts[key] for key in keys if key in plan.parts}


def _sampled_for(batches: tuple[Batch, ...], plan: Plan) -> dict[str, Sampled]:
    found = {}
    for batch in batches:
        if batch.series.counts is not None:
            keys = map(Keys(batch.series.counts).of, batch.indices)
            found.update({key: plan.sampled[key] for key in keys if key in plan.sampled})
    return found


def run_chunk(chunk: Chunk) -> Done:
    """What a joblib worker executes: the chunk's jobs, one at a time, each in a killable process of its own."""
    folder = Path(chunk.folder)
    shared_disk = (folder / journal.RUN).is_file()
    rows: list[Row] = []
    own, parts = (Journal(folder, name) if shared_disk else None for name in (journal.ROWS, PARTS))
    try:

        def deliver(row: Row) -> None:
            if own is not None:
                own.append(row)
            rows.append(row)

        def keep(part: Part) -> None:
            if parts is not None:
                parts.append(part)

        Session(_ZYGOTES.mine(), chunk.stamp, chunk.sampled, deliver, chunk.parts, keep).run(chunk.batches)
    finally:
        for opened in (own, parts):
            if opened is not None:
                opened.close()
    return Done(rows, own is not None)


class _Zygotes(threading.local):
    """One zygote per thread of a joblib worker, kept from chunk to chunk: starting one imports torch."""

    _zygote: Zygote | None = None

    def mine(self) -> Zygote:
        if self._zygote is None:
            self._zygote = Zygote()
        return self._zygote


_ZYGOTES = _Zygotes()


@contextmanager
def _loky(jobs: int) -> Iterator[None]:
    from joblib.externals.loky import get_reusable_executor

    try:
        yield
    finally:
        # the zygotes of loky's workers end with them
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextmanager
def _dask(jobs: int) -> Iterator[None]:
    """The user's own cluster if there is a client, else one on this machine."""
    distributed = _package("distributed", "dask")
    try:
        distributed.default_client()
    except ValueError:
        with distributed.Client(n_workers=jobs, threads_per_worker=1):
            yield
    else:
        yield


@contextmanager
def _ray(jobs: int) -> Iterator[None]:
    """The user's own cluster if `ray.init` was called, else one on this machine."""
    ray = _package("ray", "ray")
    _package("ray.util.joblib", "ray").register_ray()
    if ray.is_initialized():
        yield
        return
    ray.init(num_cpus=jobs, include_dashboard=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


_CLUSTERS: Final = {"loky": _loky, "dask": _dask, "ray": _ray}
"""Each has the backend's workers ready, and ends those that it started."""


def _package(name: str, backend: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InvalidInput(f'the backend {backend} is not installed: pip install "sokbench[{backend}]"') from None
