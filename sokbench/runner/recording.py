"""From what a worker answered, or did not, to the row that is recorded."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from ..parts import Part
from ..rows import Array, Row, pack, unpack
from ..suites.series import Series
from .protocol import Answer, Counted
from .workers import Stopped

Counts = tuple[tuple[int, ...], tuple[int, ...]]
"""Class counts of the selection and of the estimation."""


class Sampled(msgspec.Struct, frozen=True):
    """What a finished sampling pass found: class counts, and statistics if any were asked for."""

    counts: Array
    statistics: dict[str, float] = {}


@dataclass(frozen=True)
class Stamp:
    """What all rows of a run share. shared: other jobs run on the machine at the same time."""

    run: str
    suite: str
    shared: bool


@dataclass
class Reply:
    """What becomes the answer's part of a row."""

    termination: str
    reason: str = ""
    seconds: float = 0.0
    prepare_seconds: float = 0.0
    log: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)


def reply_of(answer: Answer | Stopped, log: str) -> Reply:
    """What a worker answered, or how it ended, as a row will say it."""
    if isinstance(answer, Stopped):
        proved = {} if answer.proved is None else {"certified_radius": answer.proved}
        return Reply(answer.termination, answer.reason, answer.seconds, log=log, fields=proved)
    fields: dict[str, Any] = {
        "verdict": answer.verdict,
        "margin": answer.margin,
        "certified_radius": answer.certified_radius,
        "prediction": answer.prediction,
        "p": answer.p,
        "q": answer.q,
    }
    if answer.witness is not None:
        values = np.frombuffer(answer.witness.data, dtype=answer.witness.dtype)
        fields["witness"] = pack(values.reshape(answer.witness.shape))
    if answer.counts is not None:
        fields["counts"] = pack(np.array(answer.counts, dtype=np.int64))
    stats = {**answer.stats, "left_running": True} if answer.left_running else answer.stats
    return Reply(answer.termination, answer.reason, answer.seconds, log=log, fields=fields, stats=stats)


def row_of(series: Series, index: int, label: int, key: str, stamp: Stamp, reply: Reply) -> Row:
    """The row of one job. A radius search that ran into a limit certified at least what it had proved, perhaps 0."""
    fields = dict(reply.fields)
    if reply.termination == "timeout" and not reply.reason:
        reply.reason = f"stopped by itself at the limit of {series.limit:g} s"
    if series.task == "radius" and reply.termination in ("timeout", "memory"):
        fields["certified_radius"] = fields.get("certified_radius") or 0.0
    return Row(
        key=key,
        run=stamp.run,
        suite=stamp.suite,
        task=series.task,
        dataset=series.dataset,
        data_sha256=series.data_sha256,
        index=index,
        label=label,
        model=series.model,
        model_sha256=series.model_sha256,
        method=series.method,
        method_version=series.method_version,
        parameters=series.parameters,
        norm=series.norm,
        radius=series.radius,
        low=series.low,
        high=series.high,
        noise=series.noise,
        alpha=series.alpha,
        limit=series.limit,
        memory=series.memory,
        seed=series.seed,
        spec=series.spec,
        expected=series.expected,
        termination=reply.termination,
        seconds=round(reply.seconds, 6),
        prepare_seconds=round(reply.prepare_seconds, 6),
        stats={"reason": reply.reason, **reply.stats} if reply.reason else reply.stats,
        log=reply.log,
        shared=stamp.shared,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **fields,
    )


def counts_of(array: Array) -> Counts:
    """The class counts of a sample row."""
    selection, estimation = unpack(array).tolist()
    return tuple(selection), tuple(estimation)


def part_of(key: str, version: str, counted: Counted, seconds: float) -> Part:
    """What to note down of a sampling pass that is not finished; seconds: of earlier sittings."""
    moments = pack(np.array(counted.moments)) if counted.moments else None
    return Part(
        key=key,
        method_version=version,
        counts=pack(np.array(counted.counts, dtype=np.int64)),
        moments=moments,
        seconds=round(seconds + counted.seconds, 3),
    )
