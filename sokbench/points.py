"""Points of the verification competition VNN-COMP, by the rules of a named year.

The rules differ from year to year, so that points are comparable only under the same ones. Sources: the scoring
programs and reports of the competition (2021: arXiv:2109.00498).

vnncomp2021  10 points for a right answer, 1 instead where a random search breaks the property, -100 for a wrong one.
             What is right is decided by vote (a tie decides nothing). The fastest right answer gets 2 more points, the
             second fastest 1; times below 1 s count as 1 s and times within 0.2 s as equal.
vnncomp2026  10 points for a right answer, -150 for a wrong one: "verified" where anyone has a counterexample, or
             "falsified" without one of one's own. Time gives no points.

In both, a category's points are scaled so that its best method has 100, negative ones count as 0, and categories
add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .core.errors import UnknownName
from .rows import Row
from .scores import Instance, contender, instance, misclassified, solved

Answers = Mapping[str, Row]
"""The answers to one instance, by contender; only those that decide it."""

_FLOOR, _TIE = 1.0, 0.2


@dataclass(frozen=True)
class Points:
    """total: sum over categories of 100 * points / best method's points; raw: the points before scaling, by category;
    wrong: answers that cost points."""

    total: float
    raw: Mapping[str, float]
    wrong: int


def points(
    rows: Iterable[Row],
    rules: str,
    category: Callable[[Row], str],
    is_random_search: Callable[[Row], bool] = misclassified,
) -> dict[str, Points]:
    """Points of every contender among the verify rows.

    rules: "vnncomp2021" or "vnncomp2026"; category: the benchmark a row belongs to, such as its model;
    is_random_search: rows that count as found by random search (2021), by default misclassified inputs.
    Raises `UnknownName` for other rules.
    """
    if rules not in RULES:
        raise UnknownName("scoring rules", rules, RULES)
    answers: dict[Instance, dict[str, Row]] = defaultdict(dict)
    easy: set[Instance] = set()
    raw: dict[str, dict[str, float]] = defaultdict(dict)
    wrong: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.task != "verify":
            continue
        raw[contender(row)].setdefault(category(row), 0.0)
        if solved(row) and row.seconds <= row.limit:
            answers[instance(row)][contender(row)] = row
            if row.verdict == "falsified" and is_random_search(row):
                easy.add(instance(row))
    for key, by_method in answers.items():
        for method, score in RULES[rules](by_method, key in easy).items():
            raw[method][category(by_method[method])] += score
            wrong[method] += score < 0
    return _scaled(raw, wrong)


def _scaled(raw: Mapping[str, Mapping[str, float]], wrong: Mapping[str, int]) -> dict[str, Points]:
    best: dict[str, float] = defaultdict(float)
    for by_category in raw.values():
        for name, score in by_category.items():
            best[name] = max(best[name], score)

    def total(by_category: Mapping[str, float]) -> float:
        return sum(100 * max(score, 0.0) / best[name] for name, score in by_category.items() if best[name] > 0)

    return {method: Points(total(found), dict(found), wrong.get(method, 0)) for method, found in raw.items()}


def _rules_2021(answers: Answers, easy: bool) -> dict[str, float]:
    holds = {method for method, row in answers.items() if row.verdict == "verified"}
    violated = set(answers) - holds
    if len(holds) == len(violated):
        return dict.fromkeys(answers, 0.0)
    if easy:
        return {method: 1.0 if method in violated else -100.0 for method in answers}
    right = holds if len(holds) > len(violated) else violated
    seconds = {method: max(answers[method].seconds, _FLOOR) for method in right}
    return {method: _with_bonus(seconds, method) if method in right else -100.0 for method in answers}


def _with_bonus(seconds: Mapping[str, float], method: str) -> float:
    first, *rest = sorted(seconds.values())
    if seconds[method] < first + _TIE:
        return 12.0
    return 11.0 if seconds[method] < rest[0] + _TIE else 10.0


def _rules_2026(answers: Answers, easy: bool) -> dict[str, float]:
    broken = any(_has_witness(row) for row in answers.values())

    def score(row: Row) -> float:
        right = not broken if row.verdict == "verified" else _has_witness(row)
        return 10.0 if right else -150.0

    return {method: score(row) for method, row in answers.items()}


def _has_witness(row: Row) -> bool:
    # a misclassified input is its own counterexample and is not stored again
    return row.verdict == "falsified" and (row.witness is not None or misclassified(row))


RULES: Final[Mapping[str, Callable[[Answers, bool], dict[str, float]]]] = {
    "vnncomp2021": _rules_2021,
    "vnncomp2026": _rules_2026,
}
