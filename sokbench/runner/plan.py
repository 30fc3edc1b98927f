"""The plan: which jobs of a suite are still to be run, given what is recorded.

A job is done if a row with its key is recorded whose method's code is today's. Rows of other code are stale and run
again; so are skipped rows once the policy that skipped them is gone, and terminations the user wants retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .. import journal
from ..core.errors import UnknownName
from ..parts import Part, read_parts
from ..rows import Array
from ..suites import Suite
from ..suites.expand import Expansion, expand
from ..suites.series import Batch, Series
from .keys import Keys
from .recording import Sampled
from .selection import select


@dataclass(frozen=True)
class Status:
    """How far one series is. pending = missing + stale + retried."""

    series: Series
    done: int
    missing: int
    stale: int
    retried: int

    @property
    def pending(self) -> int:
        return self.missing + self.stale + self.retried


@dataclass(frozen=True)
class Group:
    """Batches that belong on one worker: a method on a model, or all smoothing on a model and a noise."""

    batches: tuple[Batch, ...]

    @property
    def jobs(self) -> int:
        return sum(len(batch.indices) for batch in self.batches)


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    groups: the pending jobs; statuses: every selected series of the suite; sampled: recorded sampling passes, by the
    key of their row, that pending certificates will be computed from; parts: pending passes that were begun
    """

    suite: Suite
    results: Path
    expansion: Expansion
    groups: tuple[Group, ...]
    statuses: tuple[Status, ...]
    sampled: Mapping[str, Sampled]
    parts: Mapping[str, Part]

    @property
    def done(self) -> int:
        return sum(status.done for status in self.statuses)

    @property
    def missing(self) -> int:
        return sum(status.missing for status in self.statuses)

    @property
    def stale(self) -> int:
        return sum(status.stale for status in self.statuses)

    @property
    def retried(self) -> int:
        return sum(status.retried for status in self.statuses)

    @property
    def pending(self) -> int:
        return sum(status.pending for status in self.statuses)

    @property
    def worst_case_seconds(self) -> float:
        """Time the run takes if every job uses its limit, one after another (a worker's preparation included)."""
        jobs = sum(batch.series.limit * len(batch.indices) for group in self.groups for batch in group.batches)
        return jobs + sum(group.batches[0].series.prepare_limit for group in self.groups)


def plan(
    suite: Suite,
    results: Path,
    only: Iterable[str] = (),
    retry: Iterable[str] = (),
    report: journal.Report = journal.warn,
) -> Plan:
    """Compare a suite with what is recorded under `results`.

    only: patterns such as "crown", "mnist5k/cnn_a/*", "task=radius" or "index=17"; patterns of one field are
        alternatives, different fields must all hold; without a field name a pattern is of a method or a model
    retry: terminations whose rows are run again, such as "timeout"
    report: receives one line per damaged line of the journal
    Raises `InvalidInput` for a bad suite or pattern, and for results of a newer schema.
    """
    again = _terminations(retry)
    expansion = expand(suite)
    batches = select(expansion.batches, only)
    index = journal.read_index(results, suite.name, report)
    statuses, pending = [], []
    counted: set[str] = set()
    begun: set[str] = set()
    for batch in batches:
        found = _compare(batch, index, again)
        statuses.append(found.status(batch.series))
        if found.pending:
            pending.append(batch.restricted(set(found.pending)))
        counted |= found.samples
        if batch.series.task == "sample":
            begun |= set(map(Keys(batch.series).of, found.pending))
    sampled = {}
    if counted:
        rows = journal.scan(results, suite.name, _SampleRow, lambda message: None)  # damage was reported above
        sampled = {row.key: row.sampled() for row in rows if row.key in counted and row.counts is not None}
    parts = read_parts(results, suite.name, begun)
    return Plan(suite, results, expansion, tuple(_grouped(pending)), tuple(statuses), sampled, parts)


class _SampleRow(msgspec.Struct):
    key: str
    counts: Array | None = None
    stats: dict[str, Any] = {}

    def sampled(self) -> Sampled:
        assert self.counts is not None
        return Sampled(self.counts, self.stats.get("statistics", {}))


@dataclass
class _Comparison:
    """The jobs of one batch, by what is recorded of them."""

    done: int = 0
    missing: int = 0
    stale: int = 0
    retried: int = 0
    pending: list[int] = field(default_factory=list)
    samples: set[str] = field(default_factory=set)

    def status(self, series: Series) -> Status:
        return Status(series, self.done, self.missing, self.stale, self.retried)


def _compare(batch: Batch, index: journal.Index, again: frozenset[str]) -> _Comparison:
    series, keys, found = batch.series, Keys(batch.series), _Comparison()
    if series.skip_after is None:
        again = again | {"skipped"}
    samples = None if series.counts is None else Keys(series.counts)
    for i in batch.indices:
        recorded = index.get(keys.of(i))
        sample = None if samples is None else index.get(samples.of(i))
        if recorded is None:
            found.missing += 1
        elif recorded.version != series.method_version or not _after(recorded, sample, series):
            found.stale += 1
        elif recorded.termination in again:
            found.retried += 1
        else:
            found.done += 1
            continue
        found.pending.append(i)
        if samples is not None:
            found.samples.add(samples.of(i))
    return found


def _after(recorded: journal.Recorded, sample: journal.Recorded | None, series: Series) -> bool:
    """Whether a certificate was computed from the counts that are valid today: those recorded before it."""
    if series.counts is None:
        return True
    return sample is not None and sample.version == series.counts.method_version and sample.position < recorded.position


def _grouped(batches: Iterable[Batch]) -> Iterable[Group]:
    groups: dict[bytes, list[Batch]] = {}
    for batch in batches:
        series = batch.series
        # what a worker is opened with; a sampling pass and its certificates belong together
        identity: list[object] = [series.dataset, series.model, series.seed, series.memory]
        if series.task in ("sample", "certify"):
            identity += ["smoothing", series.noise]
        else:
            identity += [series.method, series.parameters]
        groups.setdefault(msgspec.json.encode(identity, order="deterministic"), []).append(batch)
    return (Group(tuple(group)) for group in groups.values())


def _terminations(retry: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(retry)
    for name in sorted(chosen):
        if name not in journal.TERMINATIONS:
            raise UnknownName("termination", name, journal.TERMINATIONS)
    return chosen
