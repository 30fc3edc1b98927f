"""Runs groups of jobs on one zygote and hands out one row per job, whatever happens to the job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

from ..parts import Part
from ..rows import Row, unpack
from ..suites.series import SAMPLING, Batch, Series
from .keys import Keys
from .protocol import Answer, Ask, Open, Ready
from .recording import Counts, Reply, Sampled, Stamp, counts_of, part_of, reply_of, row_of
from .workers import Stopped, Worker, Zygote

PREPARING = "while preparing: "
"""What the reason of a job begins with whose network or method could not be prepared."""


@dataclass
class _Opened:
    """A worker with what it was opened with, or why it could not be opened (then every job fails that way)."""

    opening: Open
    worker: Worker
    prepare_seconds: float
    failure: Answer | Stopped | None


@final
class Session:
    """One job at a time. Use `run` for each group; the worker is kept as long as the next job can use it."""

    def __init__(
        self,
        zygote: Zygote,
        stamp: Stamp,
        sampled: Mapping[str, Sampled],
        deliver: Callable[[Row], None],
        parts: Mapping[str, Part] | None = None,
        keep: Callable[[Part], None] = lambda part: None,
    ) -> None:
        """sampled: recorded sampling passes by key; parts: those begun; keep: notes down how far one has come."""
        self._zygote, self._stamp, self._deliver, self._keep = zygote, stamp, deliver, keep
        self._sampled, self._parts = dict(sampled), parts or {}
        self._failed_samples: dict[str, str] = {}
        self._opened: _Opened | None = None
        self._number = 0

    def run(self, batches: Iterable[Batch]) -> None:
        """Run the jobs of a group and deliver a row for each."""
        try:
            for batch in batches:
                self._run_batch(batch)
        finally:
            self._close()

    def _run_batch(self, batch: Batch) -> None:
        series, keys, timeouts = batch.series, Keys(batch.series), 0
        for index, label in zip(batch.indices, batch.labels, strict=True):
            if series.skip_after is not None and timeouts >= series.skip_after:
                reply = Reply("skipped", f"the {timeouts} inputs before it timed out")
            else:
                reply = self._job(series, index, label)
            if reply.termination != "skipped":
                timeouts = timeouts + 1 if reply.termination == "timeout" else 0
            key = keys.of(index)
            if series.task == "sample":
                self._keep_counts(key, reply)
            self._deliver(row_of(series, index, label, key, self._stamp, reply))

    def _job(self, series: Series, index: int, label: int) -> Reply:
        ask = self._ask(series, index, label)
        if isinstance(ask, Reply):
            return ask
        opened = self._ready(series)
        if opened.failure is not None:
            reply = reply_of(opened.failure, opened.worker.log_tail())
            reply.reason, reply.seconds = f"{PREPARING}{reply.reason}", 0.0
        else:
            reply = self._answered(opened.worker, ask, series)
        reply.prepare_seconds = opened.prepare_seconds
        return reply

    def _answered(self, worker: Worker, ask: Ask, series: Series) -> Reply:
        """A sampling pass tells how far it has come, and the seconds of its sittings add up."""
        if series.task != "sample":
            return reply_of(worker.ask(ask), worker.log_tail())
        key, begun = Keys(series).of(ask.index), self._begun(series, ask.index)
        before = 0.0 if begun is None else begun.seconds
        answer = worker.ask(ask, lambda counted: self._keep(part_of(key, series.method_version, counted, before)))
        reply = reply_of(answer, worker.log_tail())
        reply.seconds += before
        return reply

    def _begun(self, series: Series, index: int) -> Part | None:
        """What an earlier sitting noted down of a sampling pass, if the code is still the same."""
        part = self._parts.get(Keys(series).of(index)) if series.task == "sample" else None
        return part if part is not None and part.method_version == series.method_version else None

    def _ask(self, series: Series, index: int, label: int) -> Ask | Reply:
        """The job's question; or, for a certificate without class counts, why there are none."""
        self._number += 1
        counts: Counts = ((), ())
        moments: tuple[float, ...] = ()
        statistics: dict[str, float] = {}
        begun = self._begun(series, index)
        if begun is not None:
            counts = counts_of(begun.counts)
            moments = () if begun.moments is None else tuple(unpack(begun.moments).tolist())
        if series.counts is not None:
            key = Keys(series.counts).of(index)
            if key not in self._sampled:
                return Reply(self._failed_samples.get(key, "crashed"), "no class counts: the sampling pass gave none")
            counts, statistics = counts_of(self._sampled[key].counts), self._sampled[key].statistics
        return Ask(
            self._number,
            index,
            label,
            series.limit,
            norm=series.norm,
            radius=series.radius,
            low=series.low,
            high=series.high,
            noise=series.noise,
            alpha=series.alpha,
            spec=series.spec_source,
            parameters=series.parameters,
            counts=counts,
            moments=moments,
            statistics=statistics,
        )

    def _ready(self, series: Series) -> _Opened:
        opening = _opening(series)
        if self._opened is not None:
            same = self._opened.opening == opening
            if same and (self._opened.worker.alive or self._opened.failure is not None):
                return self._opened
            self._close()
        worker = Worker(self._zygote, opening.dataset, series.memory)
        self._opened = _Opened(opening, worker, 0.0, None)
        reply = worker.open(opening, series.prepare_limit)
        self._opened.prepare_seconds = reply.seconds
        if not isinstance(reply, Ready):
            self._opened.failure = reply
        return self._opened

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.worker.close()
            self._opened = None

    def _keep_counts(self, key: str, reply: Reply) -> None:
        if "counts" in reply.fields:
            self._sampled[key] = Sampled(reply.fields["counts"], reply.stats.get("statistics", {}))
        else:
            self._failed_samples[key] = reply.termination


def _opening(series: Series) -> Open:
    certify, images = series.task == "certify", series.task != "property"
    drawn = ("n0", "n", "precision", "stopped") if certify else ()
    return Open(
        task=series.task,
        network="" if certify else series.model_source,
        input_shape=series.input_shape,
        method="" if series.method == SAMPLING else series.method,
        method_source=series.method_source,
        parameters={name: value for name, value in series.parameters.items() if name not in drawn},
        seed=series.seed,
        dataset=series.dataset if images else "",
        data_sha256=series.data_sha256 if images else "",
        stopped="stopped" in series.parameters and certify,
    )
