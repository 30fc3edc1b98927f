"""How often certificates are wrong: every confidence method, 10,000 times, on a classifier that is known exactly.

Class 0 of a linear classifier at distance d has the probability Phi(d / sigma), the others share the rest. A
certificate is wrong if its radius exceeds d; bounds of several probabilities are wrong if any of them is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import sokbench
from randomized_smoothing.confidence import interval, lower_bound, randomized_lower_bound, top_and_others
from randomized_smoothing.deciding import thresholds_of
from randomized_smoothing.noise import Gaussian
from randomized_smoothing.sequential import AlphaSpending, Betting, SequentialTest, geometric_stages

SIGMA, ALPHA, N, REPETITIONS = 0.5, 0.02, 500, 10_000
NOISE = Gaussian(SIGMA)
NP: Any = sokbench.certifier("neyman_pearson")

Wrong = Callable[[float, np.random.Generator], Any]


def one_sided(distance: float, rng: np.random.Generator) -> Any:
    hits = rng.binomial(N, norm.cdf(distance / SIGMA), REPETITIONS)
    return NP.radius(lower_bound(hits, N, ALPHA), None, NOISE) > distance


def two_sided(distance: float, rng: np.random.Generator) -> Any:
    """The interval holds p from both sides; its lower end alone is the certificate of half of alpha."""
    p = norm.cdf(distance / SIGMA)
    low, high = interval(rng.binomial(N, p, REPETITIONS), N, ALPHA)
    return (NP.radius(low, None, NOISE) > distance) | (high < p)


def bonferroni(distance: float, rng: np.random.Generator) -> Any:
    """p and q from the same counts; the runner-up, too, is at most as likely as its bound."""
    p = norm.cdf(distance / SIGMA)
    truth = np.array([p, *[(1 - p) * share for share in (0.9, 0.06, 0.04)]])
    # a fifth of the samples: fewer different outcomes to bound
    rows, copies = np.unique(rng.multinomial(N // 5, truth, REPETITIONS), axis=0, return_counts=True)
    bounds = [top_and_others(counts, 0, ALPHA) for counts in rows]
    wrong = np.array([low > p or tail < 1 - p or q < truth[1:].max() for low, tail, q in bounds])
    return np.repeat(wrong, copies)


def randomized(distance: float, rng: np.random.Generator) -> Any:
    hits = rng.binomial(N, norm.cdf(distance / SIGMA), REPETITIONS)
    return NP.radius(randomized_lower_bound(hits, N, ALPHA, rng.random(REPETITIONS)), None, NOISE) > distance


def sequential(kind: type[SequentialTest]) -> Wrong:
    """Wrong if a radius beyond the distance is claimed at any stage."""

    def wrong(distance: float, rng: np.random.Generator) -> Any:
        test = kind(geometric_stages(N, 50), ALPHA, ALPHA)
        radii = [distance * share for share in (0.5, 0.9, 1 + 1e-9, 1.1)]
        thresholds = thresholds_of(NP, NOISE, radii)
        steps = np.diff([0, *test.stages])
        hits = rng.binomial(steps, norm.cdf(distance / SIGMA), (REPETITIONS, len(steps))).cumsum(axis=1)
        claims = [test.above(hits[:, [stage]], stage, thresholds)[:, 2:] for stage in range(len(steps))]
        return np.any(claims, axis=(0, 2))

    return wrong


METHODS: dict[str, tuple[Wrong, float]] = {
    # what is spent at least: the randomized bound spends all of alpha, the others lose some to whole counts, to unions
    # of events and to stages
    "one-sided": (one_sided, 0.1),
    "two-sided": (two_sided, 0.1),
    "bonferroni": (bonferroni, 0.1),
    "randomized": (randomized, 0.8),
    "alpha spending": (sequential(AlphaSpending), 0.1),
    "betting": (sequential(Betting), 0.02),
}


@pytest.mark.parametrize("distance", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("name", METHODS)
def test_certificates_are_wrong_at_most_alpha_of_the_time(name: str, distance: float) -> None:
    wrong, spent = METHODS[name]
    share = float(wrong(distance, np.random.default_rng(0)).mean())
    assert share <= ALPHA + 3 * np.sqrt(ALPHA / REPETITIONS)
    assert share > ALPHA * spent  # confidence that nobody uses up is squandered
