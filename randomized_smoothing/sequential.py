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
chance of stopping too soon and losing a certificate of the last stage, never of a false one. That stage claims from K
successes on. Given that it has K or more, whatever p is, those among the first n samples are a random part of them, so
at least hypergeometric; a count that this law falls to with a chance of no more than futility, shared out over the
stages, is not worth going on with. Nor is one that the rest cannot make up for, which loses nothing.

Waudby-Smith and Ramdas: Estimating Means of Bounded Random Variables by Betting, JRSS B 2024; Voracek: Treatment of
Statistical Estimation Problems in Randomized Smoothing for Adversarial Robustness, NeurIPS 2024.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, final

import numpy as np
from scipy.special import betainc, betaincc, gammaln
from scipy.stats import hypergeom

from sokbench.core.errors import InvalidInput

from .confidence import TAIL_ERROR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

LAST: Final = 0.8
"""Share of alpha that is kept for the last stage."""
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
    together; futility: chance of a "below" where the last stage would say "above", per threshold."""

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

    @final
    def below(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        """Whether the last stage will hardly answer "above". Arrays broadcast."""
        level = self.futility / max(1, len(self.stages) - 1)
        drawn, total = self.stages[stage], self.stages[-1]
        few = [_too_few(drawn, total, _needed(self, float(threshold)), level) for threshold in thresholds.flat]
        hopeless: Booleans = successes <= np.array(few).reshape(thresholds.shape)
        return hopeless


@final
@dataclass(frozen=True)
class AlphaSpending(SequentialTest):
    """Clopper-Pearson tests at levels that add up to alpha: `LAST` of it for the last stage, the rest in equal parts.

    So where sampling goes on to the end, the answer is that of fixed n at nearly the same alpha.
    """

    def level(self, stage: int, total: float) -> float:
        """The part of `total` that a stage may spend."""
        earlier = len(self.stages) - 1
        if not earlier:
            return total
        return total * LAST if stage == earlier else total * (1.0 - LAST) / earlier

    def above(self, successes: Integers, stage: int, thresholds: Floats) -> Booleans:
        level = self.level(stage, self.alpha) * (1.0 - TAIL_ERROR)
        refuted: Booleans = (successes > 0) & (_tail_from(successes, self.stages[stage], thresholds) <= level)
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


def _tail_from(k: Integers, n: int, p: Floats) -> Floats:
    """P[Bin(n, p) >= k] for k >= 1."""
    tail: Floats = betainc(np.maximum(k, 1), n - k + 1.0, p)
    return tail


@lru_cache(maxsize=4096)
def _needed(test: SequentialTest, threshold: float) -> int:
    """The least successes from which the last stage answers "above"; one more than there are samples if none do."""
    low, high = -1, test.stages[-1] + 1
    while high - low > 1:
        middle = (low + high) // 2
        above = bool(test.above(np.array([middle]), len(test.stages) - 1, np.array([threshold]))[0])
        low, high = (low, middle) if above else (middle, high)
    return high


@lru_cache(maxsize=65536)
def _too_few(drawn: int, total: int, needed: int, level: float) -> int:
    """The most successes among `drawn` samples that at least `needed` among `total` leave with a chance of at most
    `level`; -1 for none."""
    if needed > total:
        return drawn
    low, high = -1, min(drawn, needed)
    while high - low > 1:
        middle = (low + high) // 2
        rare = hypergeom.cdf(middle, total, needed, drawn) <= level
        low, high = (middle, high) if rare else (low, middle)
    return low


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
