"""Leaderboards per setting: published records, and the best we measured on each model, in one list told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .. import leaderboard
from ..core.registry import catalog
from ..measured.names import dataset_key, norm_text, radius_text, setting_slug
from ..published import Record
from .boards import Board, Entry


@dataclass(frozen=True)
class Place:
    """A record with its rank among those of the same guarantee; `entry` leads to the rows of a measured one."""

    rank: int
    record: Record
    entry: Entry | None

    @property
    def anchor(self) -> str:
        kind = "p" if self.record.probabilistic else "d"
        return f"{kind}{self.rank}-{dataset_key(self.record.method or self.record.title)[:30]}"


@dataclass(frozen=True)
class Ladder:
    """All records of one (data set, norm, radius): deterministic and probabilistic guarantees ranked apart."""

    dataset: str
    norm: str
    radius: float
    radius_as_printed: str
    deterministic: tuple[Place, ...]
    probabilistic: tuple[Place, ...]

    @property
    def slug(self) -> str:
        return setting_slug(self.dataset, self.norm, self.radius)

    @property
    def text(self) -> str:
        return f"{self.dataset}, {norm_text(self.norm)}, {self.radius_as_printed}"

    @property
    def places(self) -> tuple[Place, ...]:
        return self.deterministic + self.probabilistic


def ladders(records: Sequence[Record], boards: Sequence[Board]) -> list[Ladder]:
    """One ladder per setting that has a published record or a measured board, sorted by data set, norm and radius."""
    measured = [pair for board in boards for pair in _measured(board)]
    pairs: list[tuple[Record, Entry | None]] = [(record, None) for record in records if record.origin == "published"]
    pairs += measured
    grouped: dict[tuple[str, str, str], list[tuple[Record, Entry | None]]] = defaultdict(list)
    for record, entry in pairs:
        grouped[dataset_key(record.dataset), record.norm, radius_text(record.eps)].append((record, entry))
    found = [_ladder(members) for members in grouped.values()]
    return sorted(found, key=lambda ladder: (dataset_key(ladder.dataset), ladder.norm, ladder.radius))


def _ladder(members: Sequence[tuple[Record, Entry | None]]) -> Ladder:
    # the name as publications print it, where there is one
    named = min((record for record, _ in members), key=lambda record: record.origin != "published")
    deterministic = [pair for pair in members if not pair[0].probabilistic]
    probabilistic = [pair for pair in members if pair[0].probabilistic]
    eps_text = named.eps_text or radius_text(named.eps)
    return Ladder(named.dataset, named.norm, named.eps, eps_text, _ranked(deterministic), _ranked(probabilistic))


def _ranked(members: Sequence[tuple[Record, Entry | None]]) -> tuple[Place, ...]:
    entries = {id(record): entry for record, entry in members}
    ranked = leaderboard.rank(record for record, _ in members)
    return tuple(Place(each.rank, each.record, entries[id(each.record)]) for each in ranked)


def _measured(board: Board) -> list[tuple[Record, Entry]]:
    """For each model of a board the ranked method that certifies most of it, as a record."""
    if board.setting.radius is None:
        return []
    found = []
    for facts in board.models:
        ranked = [entry for entry in board.of_model(facts.model) if entry.rank is not None and not entry.partial]
        if not ranked or ranked[0].certified.k == 0:
            continue
        entry = ranked[0]
        known = catalog().get(entry.cell.contender.method)
        newest = max(row.finished for row in entry.cell.rows)
        record = Record(
            dataset=board.setting.dataset,
            norm=board.setting.norm,  # type: ignore[arg-type]  # rows hold the norms that Ball accepts
            eps=board.setting.radius,
            eps_text=board.setting.radius_text,
            certified_accuracy=round(100 * entry.certified.value, 2),
            clean_accuracy=None if facts.clean is None else round(100 * facts.clean.value, 2),
            attack_accuracy=None if facts.attacked is None else round(100 * facts.attacked.value, 2),
            probabilistic=known is not None and not known.info.deterministic,
            title=f"{facts.model}, certified by {entry.cell.contender.label}",
            method=facts.model,
            training=facts.training,
            verification=entry.cell.contender.label,
            model=facts.model,
            year=int(newest[:4]) if newest[:4].isdecimal() else None,
            date=newest[:7],
            origin="measured",
            run=entry.cell.rows[-1].run,
            source=f"suite {board.suite}",
        )
        found.append((record, entry))
    return found
