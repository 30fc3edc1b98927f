"""Scores: what rows say in numbers. Pure functions over rows that belong together.

"Rows that belong together" are the rows of one method on one model in one setting (one per input), unless a function
says otherwise. Accuracies are shares of ALL the inputs given: what was misclassified, timed out, crashed, was
unsupported or abstained from is not certified, and stays in the denominator.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .rows import Row

Z95: Final = 1.959963984540054
"""97.5% quantile of the normal distribution."""

NOT_TRIED: Final = ("skipped", "unsupported")
"""Terminations of rows whose method did not work on the input; their seconds say nothing about it."""


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927) for k successes of n, as fractions; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (0.0 if k == 0 else max(0.0, centre - half)), (1.0 if k == n else min(1.0, centre + half))


@dataclass(frozen=True)
class Share:
    """k of n inputs, with the Wilson 95% interval. `value`, `low` and `high` are fractions."""

    k: int
    n: int

    @property
    def value(self) -> float:
        return self.k / self.n if self.n else 0.0

    @property
    def low(self) -> float:
        return wilson(self.k, self.n)[0]

    @property
    def high(self) -> float:
        return wilson(self.k, self.n)[1]

    def overlaps(self, other: Share) -> bool:
        """Whether the intervals overlap; two shares that do are not ranked apart."""
        return self.low <= other.high and other.low <= self.high


def certified(row: Row, radius: float | None = None) -> bool:
    """Whether a row certifies its input, at `radius` where the row's answer is a radius.

    verify rows: verified (their radius is fixed). radius rows: the closed ball of `certified_radius` was verified, so
    a radius equal to it counts. certify rows: the right class was predicted and `certified_radius` exceeds the radius
    (a smoothing certificate holds for the open ball).
    """
    if row.task == "verify":
        return row.verdict == "verified"
    found = row.certified_radius or 0.0
    if row.task == "certify":
        return row.prediction == row.label and found > (radius or 0.0)
    return found > 0.0 and found >= (radius or 0.0)


def misclassified(row: Row) -> bool:
    """Whether the row shows that the unperturbed input is misclassified: a verify row then records its margin, a radius
    row that radius 0 was refuted, a certify row another prediction (or none)."""
    if row.task == "certify":
        return row.prediction != row.label
    return "clean_margin" in row.stats or (row.task == "radius" and row.stats.get("refuted") == 0)


def certified_accuracy(rows: Sequence[Row], radius: float | None = None) -> Share:
    """Certified inputs among all inputs of `rows` (see `certified` for `radius`)."""
    return Share(sum(certified(row, radius) for row in rows), len(rows))


def radius_curve(rows: Sequence[Row], radii: Iterable[float]) -> list[tuple[float, Share]]:
    """Certified accuracy at each of `radii`, from rows whose answer is a radius."""
    return [(radius, certified_accuracy(rows, radius)) for radius in radii]


@dataclass(frozen=True)
class Bounds:
    """What the inputs allow, whoever found it out: no method can certify more than `attacked` of them.

    clean: inputs that no row shows as misclassified; attacked: inputs without a counterexample; None where no row
    that was answered could have told (no attack ran, for `attacked`).
    """

    clean: Share | None
    attacked: Share | None

    def gap(self, certified: Share) -> float | None:
        """Attack accuracy minus certified accuracy, a fraction: what is neither certified nor broken."""
        return None if self.attacked is None else self.attacked.value - certified.value


def bounds(rows: Iterable[Row], attacks: Iterable[str]) -> Bounds:
    """Clean and attack accuracy from the verify rows of all methods on one model in one setting.

    attacks: slugs of the methods that are attacks; a counterexample counts whoever found it.
    """
    names = set(attacks)
    seen: set[int] = set()
    judged: set[int] = set()
    wrong: set[int] = set()
    broken: set[int] = set()
    attacked: set[int] = set()
    for row in rows:
        if row.task != "verify":
            continue
        seen.add(row.index)
        if row.termination == "ok":
            judged.add(row.index)
            if row.method in names:
                attacked.add(row.index)
        if row.verdict == "falsified":
            broken.add(row.index)
            if misclassified(row):
                wrong.add(row.index)
    clean = Share(len(seen - wrong), len(seen)) if seen and judged == seen else None
    return Bounds(clean, Share(len(seen - broken), len(seen)) if seen and attacked == seen else None)


@dataclass(frozen=True)
class AverageRadius:
    """Average certified radius with both denominators in use.

    over_all: over all inputs, misclassified ones with radius 0 (Zhai et al. 2020, MACER)
    over_correct: over the correctly classified inputs, as the SoK's site computes it; None if there are none
    """

    over_all: float
    over_correct: float | None
    n: int
    correct: int


def average_certified_radius(rows: Sequence[Row]) -> AverageRadius:
    """From rows whose answer is a radius; an input that is misclassified or abstained from has radius 0."""
    correct = [row for row in rows if not misclassified(row)]
    total = math.fsum((row.certified_radius or 0.0) for row in correct)
    over_correct = total / len(correct) if correct else None
    return AverageRadius(total / len(rows) if rows else 0.0, over_correct, len(rows), len(correct))


def solved(row: Row) -> bool:
    """Whether the question was decided, either way."""
    return row.verdict != "unknown"


@dataclass(frozen=True)
class Times:
    """Wall seconds per input that was tried; None if none was."""

    mean: float | None
    median: float | None
    tried: int


def times(rows: Iterable[Row]) -> Times:
    """Mean and median seconds over the rows that were tried, each at most its limit (as the SoK reports times)."""
    tried = [min(row.seconds, row.limit) for row in rows if row.termination not in NOT_TRIED]
    if not tried:
        return Times(None, None, 0)
    return Times(math.fsum(tried) / len(tried), statistics.median(tried), len(tried))


def par2(rows: Sequence[Row]) -> float | None:
    """Mean seconds with twice the limit for what was not solved (PAR2 of the SAT competitions); None without rows."""
    if not rows:
        return None
    return math.fsum(row.seconds if solved(row) else 2 * row.limit for row in rows) / len(rows)


def cactus(rows: Iterable[Row], counts: Callable[[Row], bool] = solved) -> list[float]:
    """Seconds of the solved rows, ascending: the k-th is the limit per input that k of them need."""
    return sorted(row.seconds for row in rows if counts(row))


Instance = tuple[str, str, int, str, float | None]


def instance(row: Row) -> Instance:
    """What is asked, whoever answers: (data set, model, input, norm, radius)."""
    return row.dataset, row.model, row.index, row.norm, row.radius


def contender(row: Row) -> str:
    """Who answers: the method, with its parameters and its noise where it was given any."""
    given = ", ".join(f"{name}={value}" for name, value in sorted({**row.parameters, **(row.noise or {})}.items()))
    return f"{row.method}({given})" if given else row.method


@dataclass(frozen=True)
class Contribution:
    """One method's part in the virtual best.

    solved: instances it solved; fastest: those that nobody solved faster (ties count for each); unique: those that
    nobody else solved; par2_without: PAR2 of the virtual best without it (seconds; higher means it matters more)
    """

    solved: int
    fastest: int
    unique: int
    par2_without: float


@dataclass(frozen=True)
class VirtualBest:
    """The method one would have if every instance were given to the method that is fastest on it."""

    instances: int
    solved: int
    par2: float
    contributions: Mapping[str, Contribution]


def virtual_best(rows: Iterable[Row], counts: Callable[[Row], bool] = solved) -> VirtualBest:
    """Over the rows of several contenders. counts: which rows count as an answer (`certified` for proofs only).

    An instance without an answer costs twice the largest limit it was given.
    """
    answers: dict[Instance, dict[str, float]] = defaultdict(dict)
    limits: dict[Instance, float] = defaultdict(float)
    methods: set[str] = set()
    for row in rows:
        key = instance(row)
        name = contender(row)
        methods.add(name)
        limits[key] = max(limits[key], row.limit)
        if counts(row):
            answers[key][name] = min(row.seconds, answers[key].get(name, math.inf))

    def total(without: str | None) -> float:
        rest = ({m: s for m, s in answers[key].items() if m != without} for key in limits)
        costs = [min(found.values(), default=2 * limits[key]) for key, found in zip(limits, rest, strict=True)]
        return math.fsum(costs) / len(costs) if costs else 0.0

    parts = {}
    for method in sorted(methods):
        found = [by_method for by_method in answers.values() if method in by_method]
        fastest = sum(by_method[method] <= min(by_method.values()) for by_method in found)
        unique = sum(len(by_method) == 1 for by_method in found)
        parts[method] = Contribution(len(found), fastest, unique, total(method))
    return VirtualBest(len(limits), sum(bool(found) for found in answers.values()), total(None), parts)


def sign_test(only_a: int, only_b: int) -> float:
    """Two-sided p-value of the exact sign test (exact McNemar) for inputs that only A, or only B, solves."""
    n, least = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / (1 << n))
