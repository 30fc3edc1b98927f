from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaincc, ndtri
from scipy.stats import binom

from randomized_smoothing.confidence import (
    TAIL_ERROR,
    interval,
    lower_bound,
    randomized_lower_bound,
    top_and_others,
    upper_bound,
)
from sokbench.core.errors import InvalidInput

GRID = [
    (n, k, alpha)
    for n in (1, 2, 10, 100, 1000, 100_000)
    for k in sorted({0, 1, n // 3, n // 2, (9 * n) // 10, n - 1, n})
    for alpha in (0.05, 0.001, 1e-6)
]


def upper_tail(n: int, k: int, p: float) -> mpmath.mpf:
    """P[Bin(n, p) >= k] to 50 digits, by summing the terms from k upwards until they no longer matter."""
    with mpmath.workdps(60):
        odds = mpmath.mpf(p) / (1 - mpmath.mpf(p))
        term = mpmath.exp(
            mpmath.loggamma(n + 1)
            - mpmath.loggamma(k + 1)
            - mpmath.loggamma(n - k + 1)
            + k * mpmath.log(p)
            + (n - k) * mpmath.log1p(-mpmath.mpf(p))
        )
        total = mpmath.mpf(0)
        for i in range(k, n + 1):
            total += term
            if term < total * mpmath.mpf(10) ** -45:
                break
            term *= odds * (n - i) / (i + 1)
        return total


@pytest.mark.parametrize(("n", "k", "alpha"), [case for case in GRID if case[1] > 0])
def test_lower_bound_is_refuted_to_fifty_digits_and_only_just(n: int, k: int, alpha: float) -> None:
    p = float(lower_bound(k, n, alpha))
    # on the safe side, in exact arithmetic ...
    assert upper_tail(n, k, p) <= alpha
    # ... and a hair further it no longer is: the bound gives nothing away
    assert upper_tail(n, k, p * (1 + 1e-9)) > alpha


@pytest.mark.parametrize(("n", "k", "alpha"), [case for case in GRID if case[1] < case[0]])
def test_upper_bound_mirrors_the_lower_one_with_relative_precision(n: int, k: int, alpha: float) -> None:
    q = float(upper_bound(k, n, alpha))
    with mpmath.workdps(60):
        # failures of Bin(n, q) are Bin(n, 1 - q), with 1 - q exact in 60 digits
        assert upper_tail(n, n - k, 1 - mpmath.mpf(q)) <= alpha
        assert upper_tail(n, n - k, 1 - mpmath.mpf(q) * (1 - mpmath.mpf("1e-9"))) > alpha
    assert q == pytest.approx(1 - float(lower_bound(n - k, n, alpha)), abs=1e-15)


def test_edges() -> None:
    assert lower_bound(0, 10, 0.001) == 0.0
    assert upper_bound(10, 10, 0.001) == 1.0
    assert float(lower_bound(10, 10, 0.001)) == pytest.approx(0.001**0.1, rel=1e-11)
    # all of 100,000 samples agree: the largest certified radius of the usual setting is 3.8115 sigma
    assert -ndtri(upper_bound(0, 100_000, 0.001)) == pytest.approx(3.8115, abs=5e-5)


@pytest.mark.parametrize(("n", "k", "alpha"), [case for case in GRID if 0 < case[1] < case[0] and case[0] <= 1000])
def test_the_tail_functions_are_as_accurate_as_claimed(n: int, k: int, alpha: float) -> None:
    p = float(lower_bound(k, n, alpha))
    assert float(betainc(k, n - k + 1.0, p) / upper_tail(n, k, p) - 1) == pytest.approx(0, abs=TAIL_ERROR / 10)
    q = float(upper_bound(k, n, alpha))
    with mpmath.workdps(60):
        exact = upper_tail(n, n - k, 1 - mpmath.mpf(q))
    assert float(betaincc(k + 1.0, n - k, q) / exact - 1) == pytest.approx(0, abs=TAIL_ERROR / 10)


@pytest.mark.parametrize("alpha", [0.1, 0.001])
@pytest.mark.parametrize("n", [1, 10, 200])
def test_coverage_is_exact(n: int, alpha: float) -> None:
    """The chance that the bound exceeds the true probability, summed over all outcomes, is at most alpha."""
    k = np.arange(n + 1)
    low, high = lower_bound(k, n, alpha), upper_bound(k, n, alpha)
    for p in np.linspace(0.001, 0.999, 333):
        chances = binom.pmf(k, n, p)
        assert chances[low > p].sum() <= alpha
        assert chances[high < p].sum() <= alpha


@given(st.integers(1, 5000), st.data())
def test_monotone_in_successes_and_confidence(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n - 1))
    assert lower_bound(k, n, 0.01) < lower_bound(k + 1, n, 0.01)
    assert lower_bound(k, n, 0.001) <= lower_bound(k, n, 0.01) <= k / n <= upper_bound(k, n, 0.01)


@pytest.mark.parametrize(
    ("k", "n", "alpha", "message"),
    [
        (1, 0, 0.1, "at least one trial"),
        (-1, 5, 0.1, "between 0 and the number"),
        (6, 5, 0.1, "between 0 and the number"),
        (1, 5, 0.0, "alpha"),
        (1, 5, float("nan"), "alpha"),
        (0.5, 5, 0.1, "integers"),
    ],
)
def test_bad_input(k: float, n: int, alpha: float, message: str) -> None:
    for bound in (lower_bound, upper_bound):
        with pytest.raises(InvalidInput, match=message):
            bound(k, n, alpha)


def test_two_sided_bounds_cover_from_both_sides() -> None:
    n, alpha = 60, 0.1
    k = np.arange(n + 1)
    low, high = interval(k, n, alpha)
    np.testing.assert_array_equal(low, lower_bound(k, n, alpha / 2))
    for p in np.linspace(0.01, 0.99, 99):
        chances = binom.pmf(k, n, p)
        assert chances[(low > p) | (high < p)].sum() <= alpha
    # all of 100,000 samples: the two-sided bound costs the last digits of the largest radius
    assert ndtri(interval(100_000, 100_000, 0.001)[0]) == pytest.approx(3.7878, abs=5e-5)


def test_bounds_of_all_classes_hold_together() -> None:
    """A classifier with known probabilities: p and q, whichever class is second, are wrong together at most alpha of
    the time; and q, with many classes, is far below 1 - p."""
    alpha, truth, repetitions = 0.05, np.array([0.4, 0.3, 0.2, 0.05, 0.05]), 1000
    wrong = 0
    for counts in np.random.default_rng(0).multinomial(300, truth, repetitions):
        p, tail, q = top_and_others(counts, 0, alpha)
        assert p <= counts[0] / 300
        assert q <= tail
        wrong += bool(p > truth[0] or q < truth[1:].max() or tail < 1 - truth[0])
    assert wrong / repetitions <= alpha
    p, tail, q = top_and_others(np.array([450, 100, 100, 100, 100, 150]), 0, 0.001)
    assert q < p < 0.5 < tail


@pytest.mark.parametrize("n", [1, 10, 60])
def test_randomized_coverage_is_alpha_to_the_digit(n: int) -> None:
    """For every p: averaged over the outcomes and over the uniform draw, the bound is wrong exactly alpha often."""
    alpha, uniform = 0.05, (np.arange(200) + 0.5) / 200
    k = np.arange(n + 1)
    low = randomized_lower_bound(k[:, None], n, alpha, uniform)
    assert (low >= lower_bound(k, n, alpha)[:, None] * (1 - 1e-12)).all()
    for p in np.linspace(0.05, 0.95, 19):
        wrong = (low > p).mean(axis=1) @ binom.pmf(k, n, p)
        assert wrong == pytest.approx(alpha, abs=1 / 200)
    np.testing.assert_allclose(randomized_lower_bound(k, n, alpha, 1.0), lower_bound(k, n, alpha), rtol=1e-12)
    with pytest.raises(InvalidInput, match="uniform"):
        randomized_lower_bound(1, 2, alpha, 1.5)
