"""Points by the rules of VNN-COMP, as its scoring code had them in a named year.

2021 (S. Bak, C. Liu, T. Johnson: The Second International Verification of Neural Networks Competition, 2021): 10 points
for a correct answer, 1 where random search finds the counterexample, -100 for a wrong one; the fastest tool gets 2
more, the second 1, ties within 0.2 s; a tool's overhead is subtracted from its times, which then count as 1 s at
least. Where tools disagree the majority is right, and nobody if there is none.
2026: 10 points, -150 for a wrong answer, no bonus for speed and nothing subtracted.
In both, a tool's score in a category is its percentage of the best, and these are added up.

What differs here: a counterexample that was evaluated again (by float64 and onnxruntime) decides, whatever the
majority says. "Random search finds it" is taken to be so where the centre of a box is a counterexample already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .core.outcome import Verdict
from .known import known
from .rows import Row
from .scores import contender, misclassified, solved

_FLOOR, _TIE = 1.0, 0.2


@dataclass(frozen=True)
class Rules:
    """Points of a year. simple: for counterexamples that random search finds; bonus: of the fastest and the second."""

    year: int
    correct: int
    simple: int
    wrong: int
    bonus: tuple[int, int]
    subtract_overhead: bool


RULES: Final = {
    2021: Rules(2021, correct=10, simple=1, wrong=-100, bonus=(2, 1), subtract_overhead=True),
    2026: Rules(2026, correct=10, simple=10, wrong=-150, bonus=(0, 0), subtract_overhead=False),
}


@dataclass(frozen=True)
class Tally:
    """One contender in one category. percent: of the best contender's points there, not below 0."""

    points: int
    percent: float
    holds: int
    violated: int
    wrong: int
    fastest: int


@dataclass(frozen=True)
class Standing:
    """total: the sum of a contender's percentages; categories: its tally in each it has rows in."""

    contender: str
    total: float
    categories: Mapping[str, Tally]


def standings(rows: Iterable[Row], rules: Rules) -> list[Standing]:
    """The contenders of a suite of property rows, best first. Rows of one instance are compared with each other."""
    by_category: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_category[row.dataset].append(row)
    tallies: dict[str, dict[str, Tally]] = defaultdict(dict)
    for category, together in sorted(by_category.items()):
        for name, tally in _category(together, rules).items():
            tallies[name][category] = tally
    found = [Standing(name, sum(t.percent for t in parts.values()), parts) for name, parts in tallies.items()]
    return sorted(found, key=lambda standing: (-standing.total, standing.contender))


def right_answers(answers: Sequence[Row]) -> frozenset[str]:
    """The verdicts that count as right for an instance, as far as its rows tell.

    A counterexample that was judged again, or is known, makes "violated" the only one. One that needs the tolerance
    for inputs is right without making others wrong (as in 2026); where there is none, nobody knows better.
    """
    found = [row for row in answers if row.verdict == Verdict.FALSIFIED]
    strict = any(row.stats.get("witness", "correct") == "correct" for row in found)
    before = (known(row.expected) for row in answers)
    if strict or any(one.certain and one.answer == "violated" for one in before):
        return frozenset((Verdict.FALSIFIED,))
    return frozenset(row.verdict for row in filter(solved, answers))


def _category(rows: Sequence[Row], rules: Rules) -> dict[str, Tally]:
    seconds = _seconds(rows, rules)
    instances: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        instances[row.model, row.spec, row.index].append(row)
    points: dict[str, int] = dict.fromkeys((contender(row) for row in rows), 0)
    counts: dict[str, dict[str, int]] = {name: defaultdict(int) for name in points}
    for answers in instances.values():
        right = right_answers(answers)
        simple = any(row.verdict == Verdict.FALSIFIED and misclassified(row) for row in answers)
        for row in filter(solved, answers):
            name = contender(row)
            if row.verdict not in right:
                points[name] += rules.wrong
                counts[name]["wrong"] += 1
                continue
            same = sorted(seconds[other.key] for other in answers if other.verdict == row.verdict)
            place = _place(seconds[row.key], same)
            counts[name][row.verdict] += 1
            counts[name]["fastest"] += place == 0
            points[name] += rules.simple if simple else rules.correct + (rules.bonus[place] if place < 2 else 0)
    best = max(points.values(), default=0)
    return {
        name: Tally(
            score,
            max(0.0, 100.0 * score / best) if best > 0 else 0.0,
            counts[name][Verdict.VERIFIED],
            counts[name][Verdict.FALSIFIED],
            counts[name]["wrong"],
            counts[name]["fastest"],
        )
        for name, score in points.items()
    }


def _place(time: float, times: Sequence[float]) -> int:
    """0 for the fastest, 1 for the second, 2 for the rest; times within 0.2 s of a place share it."""
    if time < times[0] + _TIE:
        return 0
    return 1 if time < times[1] + _TIE else 2


def _seconds(rows: Sequence[Row], rules: Rules) -> dict[str, float]:
    """Seconds that count, by key: with the time of loading, which a competition cannot tell apart either."""
    spent = {row.key: row.seconds + row.prepare_seconds for row in rows}
    if not rules.subtract_overhead:
        return spent
    overhead: dict[str, float] = {}
    for row in filter(solved, rows):
        name = contender(row)
        overhead[name] = min(overhead.get(name, spent[row.key]), spent[row.key])
    return {row.key: max(_FLOOR, spent[row.key] - overhead.get(contender(row), 0.0)) for row in rows}
