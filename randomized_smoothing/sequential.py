"""Sequential tests: samples in stages, stopped once the decisions that were asked for are made, with the same alpha.

Whether radius r is certified is a question about one number: is p above the threshold t at which the certificate of p
reaches r? A test looks at the count of successes after each stage and may answer "above" or "below". Looking often
without paying for it would be wrong more often than alpha; two ways of paying:

`AlphaSpending`  a Clopper-Pearson test per stage, the levels of which add up to alpha. One lower bound per stage
                 answers for all thresholds, so many radii cost no more than one.
`Betting`        the mixture of likelihood ratios of q against t over q > t, a non-negative supermartingale where
                 p <= t, exceeds 1/alpha ever with a chance of at most alpha (Ville). Thresholds are tested in rising
                 order and a claim needs all claims below it, so a first false claim is a false answer of one test:
                 many radii again share alpha (fixed sequence testing; Maurer, Hothorn, Lehmacher 1995).

"Below" only ends the sampling early. It certifies nothing, so its level `futility` is no part of alpha: it is the
chance of stopping too soon and losing a certificate, never of a false one. And it loses none where "above" is out of
reach anyway: where even a success of every sample to come would not do at the last stage, and so at none before it.

Waudby-Smith and Ramdas: Estimating Means of Bounded Random Variables by Betting, JRSS B 2024; Voracek: Treatment of
Statistical Estimation Problems in Randomized Smoothing for Adversarial Robustness, NeurIPS 2024.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, final

import numpy as np
from scipy.special import betainc, betaincc, gammaln

from sokbench.core.errors import InvalidInput

from .confidence import TAIL_ERROR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

PRIOR: Final = 0.5
"""Both parameters of the Beta density that weights the likelihood ratios (Krichevsky and Trofimov's)."""
ROUNDING: Final = 16 * 2.0**-52
"""Error of a sum of log gamma functions, relative to the sum of their sizes: each is right to a few ulp."""


def geometric_stages(n: int, first: int = 100, growth: float = 1.5) -> tuple[int, ...]:
    """Sample sizes at which a test looks: first, first * growth, ..., n."""
    if n < 1 or first < 1 or not growth > 1.0:
        raise InvalidInput(f"stages need n >= 1, first >= 1 and growth > 1, not {n}, {first} and {growth}")
    sizes = [n]
    size = float(first)
    while round(size) < n:
        sizes.append(round(size))
        size *= growth
    return tuple(sorted(set(sizes)))


@dataclass(frozen=True)
class SequentialTest(ABC):
    """stages: sample sizes at which it looks, rising; alpha: chance of any false "above", all stages and thresholds
    together; futility: chance of a false "below", per threshold."""

    stages: tuple[int, ...]
    alpha: float
    futility: float

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0] < 1 or any(b <= a for a, b in pairwise(self.stages)):
            raise InvalidInput(f"stages are sample sizes that rise, not {self.stages}")
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.futility < 1.0):
            raise InvalidInput(f"alpha and futility must lie in (0, 1), not {self.alpha} and {self.futility}")

    @abstractmethod
    def above(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        """Whether p <= threshold is refuted by `successes` after stage number `stage`. Arrays broadcast."""

    @abstractmethod
    def refutes(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        """Whether p >= threshold is refuted, likewise."""

    @final
    def below(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        """Whether p >= threshold is refuted, or "above" is out of reach. Arrays broadcast."""
        best = successes + (self.stages[-1] - self.stages[stage])
        within_reach = self.above(best, len(self.stages) - 1, thresholds)
        return self.refutes(successes, stage, thresholds) | ~within_reach


@final
@dataclass(frozen=True)
class AlphaSpending(SequentialTest):
    """Clopper-Pearson tests at levels that add up to alpha: half for the last stage, the rest in equal parts.

    So where sampling goes on to the end, the answer is that of fixed n at alpha / 2, and hardly ever another one.
    """

    def level(self, stage: int, total: float) -> float:
        """The part of `total` that a stage may spend."""
        earlier = len(self.stages) - 1
        if not earlier:
            return total
        return total / 2 if stage == earlier else total / (2 * earlier)

    def above(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        level = self.level(stage, self.alpha) * (1.0 - TAIL_ERROR)
        refuted: Booleans = (successes > 0) & (_tail_from(successes, self.stages[stage], thresholds) <= level)
        return refuted

    def refutes(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        level = self.level(stage, self.futility) * (1.0 - TAIL_ERROR)
        n = self.stages[stage]
        refuted: Booleans = (successes < n) & (_tail_to(successes, n, thresholds) <= level)
        return refuted


@final
@dataclass(frozen=True)
class Betting(SequentialTest):
    """A mixture of likelihood ratios against every threshold, valid at any time and so at any stages.

    Radii are certified in rising order; see the module's docstring for why that is enough.
    """

    def above(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        n = self.stages[stage]
        wealth = _log_wealth(successes, n - successes, thresholds, 1.0 - thresholds) >= -np.log(self.alpha)
        claims: Booleans = np.logical_and.accumulate(wealth, axis=-1)
        return claims

    def refutes(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        n = self.stages[stage]
        refuted: Booleans = _log_wealth(n - successes, successes, 1.0 - thresholds, thresholds) >= -np.log(
            self.futility
        )
        return refuted


def _tail_from(k: Integers, n: int, p: Floats) -> Floats:
    """P[Bin(n, p) >= k] for k >= 1."""
    tail: Floats = betainc(np.maximum(k, 1), n - k + 1.0, p)
    return tail


def _tail_to(k: Integers, n: int, p: Floats) -> Floats:
    """P[Bin(n, p) <= k] for k < n."""
    tail: Floats = betaincc(k + 1.0, np.maximum(n - k, 1), p)
    return tail


def _log_wealth(hits: Integers, misses: Integers, p: Floats, tail: Floats) -> Floats:
    """ln of the mean of (q/p)^hits ((1-q)/(1-p))^misses over the Beta density of q, cut off below p; rounded down.

    tail: 1 - p. Where p >= 1 there is no q above it: -inf.
    """
    a, b = hits + PRIOR, misses + PRIOR
    inside = (p > 0.0) & (tail > 0.0)
    p, tail = np.where(inside, p, 0.5), np.where(inside, tail, 0.5)
    gammas = (gammaln(a), gammaln(b), gammaln(a + b))
    null = (hits * np.log(p), misses * np.log(tail))
    with np.errstate(divide="ignore"):
        kept = np.log(betaincc(a, b, p)) - np.log(betaincc(PRIOR, PRIOR, p))
    # the Beta(1/2, 1/2) function is pi
    log_mean = gammas[0] + gammas[1] - gammas[2] - np.log(np.pi) + kept - null[0] - null[1]
    error = ROUNDING * sum(np.abs(part) for part in (*gammas, *null)) + 4 * TAIL_ERROR
    result: Floats = np.where(inside, log_mean - error, -np.inf)
    return result
