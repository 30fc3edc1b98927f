"""Leaderboards per setting: published records, and the best we measured on each model, in one list told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .. import leaderboard
from ..measured.names import dataset_key, norm_text, radius_text, setting_slug
from ..published import Record
from .measured_records import Measured


@dataclass(frozen=True)
class Place:
    """A record with its rank among those of the same guarantee; `measured` leads to the rows of one of ours."""

    position: int
    rank: int
    record: Record
    measured: Measured | None

    @property
    def anchor(self) -> str:
        kind = "p" if self.record.probabilistic else "d"
        return f"{kind}{self.position}-{dataset_key(self.record.method or self.record.title)[:30]}"


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


def ladders(records: Sequence[Record], measured: Sequence[Measured]) -> list[Ladder]:
    """One ladder per setting that has a record, sorted by data set, norm and radius."""
    found = {id(one.record): one for one in measured}
    grouped: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in (*records, *(one.record for one in measured)):
        grouped[dataset_key(record.dataset), record.norm, radius_text(record.eps)].append(record)
    made = [_ladder(members, found) for members in grouped.values()]
    return sorted(made, key=lambda ladder: (dataset_key(ladder.dataset), ladder.norm, ladder.radius))


def _ladder(records: Sequence[Record], measured: dict[int, Measured]) -> Ladder:
    # the name as publications print it, where there is one
    named = min(records, key=lambda record: record.origin != "published")

    def places(probabilistic: bool) -> tuple[Place, ...]:
        ranked = leaderboard.rank(record for record in records if record.probabilistic is probabilistic)
        return tuple(
            Place(position, each.rank, each.record, measured.get(id(each.record)))
            for position, each in enumerate(ranked, start=1)
        )

    eps_text = named.eps_text or radius_text(named.eps)
    return Ladder(named.dataset, named.norm, named.eps, eps_text, places(False), places(True))
