"""Property rows as people compare them: contenders on the instances of the categories of a suite."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from .. import scores
from ..competition import RULES, Standing, standings
from ..known import Known, known
from ..measured.cells import Contender
from ..measured.names import slug
from ..measured.status import status_of
from ..rows import Row

EASY = 10.0
VIRTUAL_BEST = Contender("virtual best")


@dataclass(frozen=True)
class Question:
    """One instance with the newest answer of each contender to it."""

    suite: str
    category: str
    index: int
    network: str
    spec: str
    expected: str
    answers: Mapping[Contender, Row]

    @property
    def path(self) -> str:
        return f"properties/{slug(self.suite)}.{slug(self.category)}.{self.index}.html"

    @property
    def title(self) -> str:
        return f"{Path(self.network).name}, {Path(self.spec).name}"

    @property
    def known(self) -> Known:
        return known(self.expected)

    @property
    def easy(self) -> bool:
        """Whether some tool is known to have decided it in less than `EASY` seconds."""
        return self.known.seconds is not None and self.known.seconds < EASY

    @property
    def limit(self) -> float:
        return max(row.limit for row in self.answers.values())

    @cached_property
    def best(self) -> float | None:
        """Seconds of the fastest answer."""
        return min((row.seconds for row in self.answers.values() if scores.solved(row)), default=None)


@dataclass(frozen=True)
class Entrant:
    """A contender over all instances: what it decided, in total and by category, and what that is worth."""

    contender: Contender
    rows: tuple[Row, ...]
    points: Mapping[int, Standing]
    part: scores.Contribution
    solved: Mapping[str, int]

    @property
    def par2(self) -> float | None:
        return scores.par2(self.rows)

    @cached_property
    def statuses(self) -> Counter[str]:
        return Counter(status_of(row) for row in self.rows)

    @property
    def wrong(self) -> int:
        return sum(tally.wrong for tally in self.points[2021].categories.values())

    @property
    def easy(self) -> int:
        """Decided among those that are known to be easy."""
        return sum(scores.solved(row) and (known(row.expected).seconds or EASY) < EASY for row in self.rows)

    @property
    def score(self) -> dict[int, int]:
        """Points by year."""
        return {year: sum(t.points for t in found.categories.values()) for year, found in self.points.items()}


@dataclass(frozen=True)
class PropertyBoard:
    """A suite's property rows. entrants: best first by the rules of 2021; categories: instances in each."""

    suite: str
    questions: tuple[Question, ...]
    entrants: tuple[Entrant, ...]
    best: scores.VirtualBest
    categories: Mapping[str, int]

    @property
    def path(self) -> str:
        return f"properties/{slug(self.suite)}.html"

    @property
    def easy(self) -> int:
        return sum(question.easy for question in self.questions)

    def best_solved(self, category: str) -> int:
        return sum(question.best is not None for question in self.questions if question.category == category)


def property_boards(rows: Mapping[str, Sequence[Row]]) -> list[PropertyBoard]:
    """A board per suite that has property rows; rows: by suite, newest per key."""
    found = {suite: [row for row in given if row.task == "property"] for suite, given in rows.items()}
    return [_board(suite, own) for suite, own in found.items() if own]


def contender_of(row: Row) -> Contender:
    parameters = msgspec.json.encode(row.parameters, order="sorted").decode() if row.parameters else "{}"
    return Contender(row.method, parameters)


def _board(suite: str, rows: Sequence[Row]) -> PropertyBoard:
    newest: dict[tuple[str, int, str, str], dict[Contender, Row]] = defaultdict(dict)
    for row in sorted(rows, key=lambda each: each.finished):
        newest[row.dataset, row.index, row.model, row.spec][contender_of(row)] = row
    questions = tuple(
        Question(suite, category, index, network, spec, next(iter(answers.values())).expected, answers)
        for (category, index, network, spec), answers in sorted(newest.items(), key=lambda item: item[0])
    )
    shown = [row for question in questions for row in question.answers.values()]
    categories = Counter(question.category for question in questions)
    return PropertyBoard(suite, questions, tuple(_entrants(shown)), scores.virtual_best(shown), dict(categories))


def _entrants(rows: Sequence[Row]) -> list[Entrant]:
    own: dict[Contender, list[Row]] = defaultdict(list)
    for row in rows:
        own[contender_of(row)].append(row)
    # scores know a contender by a name of their own
    names = {contender: scores.contender(found[0]) for contender, found in own.items()}
    points = {year: {one.contender: one for one in standings(rows, rules)} for year, rules in RULES.items()}
    parts = scores.virtual_best(rows).contributions
    found = [
        Entrant(
            contender,
            tuple(together),
            {year: by_name[names[contender]] for year, by_name in points.items()},
            parts[names[contender]],
            Counter(row.dataset for row in together if scores.solved(row)),
        )
        for contender, together in own.items()
    ]
    return sorted(found, key=lambda entrant: (-entrant.points[2021].total, entrant.contender))
