"""The first-order certificate: its slab and its gradient bound, and soft outputs, on classifiers known exactly."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

import sokbench
from randomized_smoothing.first_order import deviation, gradient_bound
from randomized_smoothing.lipschitz_soft import bernstein_bound
from randomized_smoothing.noise import Gaussian, Laplace
from sokbench import ABSTAIN, InvalidInput, Unsupported

FIRST: Any = sokbench.certifier("first_order")
NP = sokbench.certifier("neyman_pearson")


def half_space(p: float) -> float:
    return float(norm.pdf(norm.ppf(p)))


def test_values_of_the_field() -> None:
    """sigma = 1, p = 0.9 with no gradient and half of the largest: what two papers' own programs give."""
    found = FIRST.radius(0.9, None, Gaussian(1.0), np.array([0.0, half_space(0.9) / 2]))
    np.testing.assert_allclose(found, [1.64359, 1.42917], atol=1e-5)


@given(st.floats(0.501, 0.9999), st.floats(0.0, 1.2))
def test_the_slab_has_the_mass_and_the_gradient_and_keeps_one_half(p: float, share: float) -> None:
    """The radius by solving the three equations again, another way."""
    radius = float(FIRST.radius(p, None, Gaussian(1.0), share * half_space(p)))
    plain = float(NP.radius(p, None, Gaussian(1.0)))
    if share >= 1.0:
        assert radius == plain
        return

    def upper(a: float) -> float:
        return -float(norm.ppf(max(1.0 - p - norm.cdf(a), 1e-300)))

    def excess(a: float) -> float:
        return float(norm.pdf(upper(a)) - norm.pdf(a)) - share * half_space(p)

    a = (
        brentq(excess, -38.0, float(norm.ppf((1 - p) / 2)), xtol=1e-14)
        if share > 1e-9
        else float(norm.ppf((1 - p) / 2))
    )
    b = upper(a)
    exact = brentq(lambda r: norm.cdf(b - r) - norm.cdf(a - r) - 0.5, 0.0, 60.0, xtol=1e-13)
    assert plain - 1e-12 <= radius <= exact + 1e-9
    assert exact - radius <= 1e-6 * max(1.0, exact)


def test_the_order_of_certificates() -> None:
    p = np.linspace(0.51, 0.9999, 60)
    limit = np.array([half_space(x) for x in p])
    radii = np.stack([FIRST.radius(p, None, Gaussian(0.5), share * limit) for share in (0.0, 0.3, 0.7, 0.99, 1.0)])
    assert (np.diff(radii, axis=0) <= 1e-9).all()
    np.testing.assert_array_equal(radii[-1], NP.radius(p, None, Gaussian(0.5)))
    np.testing.assert_array_equal(FIRST.radius(p, 0.001, Gaussian(0.5)), NP.radius(p, 0.001, Gaussian(0.5)))


@pytest.mark.parametrize("width", [0.4, 0.8, 1.5])
@pytest.mark.parametrize("x", [0.0, 0.2, 0.5])
def test_no_certificate_exceeds_the_distance_on_a_slab(width: float, x: float) -> None:
    """Class A is |z_1| < width: P[A], its gradient and the distance at which it drops to one half are known."""
    sigma = 0.5

    def inside(at: float) -> float:
        return float(norm.cdf((width - at) / sigma) - norm.cdf((-width - at) / sigma))

    p = inside(x)
    if p <= 0.5:
        return
    gradient = abs(float(norm.pdf((width + x) / sigma) - norm.pdf((width - x) / sigma)))
    distance = brentq(lambda r: inside(x + r) - 0.5, 0.0, 10.0)
    found = float(FIRST.radius(p, None, Gaussian(sigma), gradient))
    assert float(NP.radius(p, None, Gaussian(sigma))) <= found <= distance + 1e-9
    if x == 0.0:
        assert found == pytest.approx(distance, rel=1e-6)  # the slab is the worst case itself


def draws(rng: np.random.Generator, runs: int, n: int, distance: float, dimension: int) -> tuple[Any, Any, Any]:
    """Hits, and the means of the noise on A over even and odd samples, of a half-space at this distance: (runs, d)."""
    means, hits = [], 0
    for _ in range(2):
        z = rng.normal(size=(runs, n // 2))
        inside = z > -distance
        along = (z * inside).mean(axis=1)
        count = inside.sum(axis=1)
        across = rng.normal(size=(runs, dimension - 1)) * (np.sqrt(count) / (n // 2))[:, None]
        means.append(np.column_stack([along, across]))
        hits = hits + count
    return hits, means[0], means[1]


def statistics(product: float, square: float, half: int, dimension: int) -> dict[str, float]:
    squares = {"first": square, "second": square}
    return {"product": product, **squares, "even": half, "odd": half, "dimension": dimension, "reach": 1.0}


@pytest.mark.parametrize(("distance", "dimension"), [(0.0, 2), (0.5, 30), (2.0, 200)])
def test_the_gradient_bound_is_wrong_at_most_alpha_of_the_time(distance: float, dimension: int) -> None:
    alpha, n, runs, sigma = 0.05, 200, 10_000, 0.7
    _, even, odd = draws(np.random.default_rng(0), runs, n, distance, dimension)
    truth = float(norm.pdf(distance))
    wrong = 0
    for u, v in zip(sigma * even, sigma * odd, strict=True):
        found = statistics(u @ v, u @ u, n // 2, dimension)
        wrong += gradient_bound(found, sigma, alpha) < truth
    assert wrong / runs <= alpha
    # and the bound is of use: at 200 samples within some tenths, at a million close
    found = statistics((0.7 * truth) ** 2, (0.7 * truth) ** 2, 500_000, 9)
    assert truth <= gradient_bound(found, sigma, 0.001) <= truth + 0.05


def test_certificates_are_wrong_at_most_alpha_of_the_time() -> None:
    """On the half-space, where the true radius is the distance, many times."""
    alpha, n, sigma, distance = 0.05, 400, 1.0, 1.0
    hits, even, odd = draws(np.random.default_rng(1), 10_000, n, distance, 5)
    wrong = 0
    for k, u, v in zip(hits[:2000].tolist(), even, odd, strict=False):
        found = statistics(u @ v, u @ u, n // 2, 5)
        certificate = FIRST.certify(np.array([9, 1]), np.array([k, n - k]), Gaussian(sigma), alpha, found)
        wrong += certificate.radius > distance
    assert wrong / 2000 <= alpha + 3 * np.sqrt(alpha / 2000)


def test_deviations_cover_sums_of_cut_normal_numbers() -> None:
    rng = np.random.default_rng(2)
    for cut in (-np.inf, 0.0, 1.0):
        z = rng.normal(size=(10_000, 50))
        means = (z * (z > cut)).mean(axis=1)
        truth = 0.0 if cut == -np.inf else float(norm.pdf(cut))
        for side in (means - truth, truth - means):
            assert (side > deviation(50, 0.02)).mean() <= 0.02
    assert deviation(0, 0.02) == np.inf
    assert deviation(10**6, 0.001) == pytest.approx(np.sqrt(2 * np.log(1000) / 1e6), rel=1e-4)


def test_without_statistics_it_is_cohens() -> None:
    selection, counts = np.array([9, 1]), np.array([980, 20])
    assert FIRST.certify(selection, counts, Gaussian(0.5), 0.001) == NP.certify(selection, counts, Gaussian(0.5), 0.001)
    with pytest.raises(Unsupported, match="gaussian"):
        FIRST.radius(0.9, None, Laplace(0.5))


def test_a_flat_region_gains_and_a_half_space_does_not() -> None:
    selection, counts = np.array([9, 1]), np.array([98_000, 2_000])
    flat = statistics(0.0, 1e-4, 50_000, 784)
    steep = {**flat, "product": (0.5 * half_space(0.98)) ** 2, "first": 0.01}
    plain = NP.certify(selection, counts, Gaussian(0.5), 0.001).radius
    gained = FIRST.certify(selection, counts, Gaussian(0.5), 0.001, flat).radius
    assert gained > 1.03 * plain
    assert FIRST.certify(selection, counts, Gaussian(0.5), 0.001, steep).radius < plain  # alpha is shared


SOFT: Any = sokbench.certifier("lipschitz_soft")


def test_soft_lemmas() -> None:
    p = np.linspace(0.51, 0.999, 30)
    np.testing.assert_allclose(SOFT.radius(p, None, Gaussian(0.5)), NP.radius(p, None, Gaussian(0.5)), rtol=1e-12)
    first = sokbench.certifier("lipschitz_soft", lemma=1).radius(p, None, Gaussian(0.5))
    np.testing.assert_allclose(first, sokbench.certifier("lipschitz").radius(p, None, Gaussian(0.5)), rtol=1e-12)
    assert (first <= SOFT.radius(p, None, Gaussian(0.5))).all()
    with pytest.raises(InvalidInput, match="lemmas"):
        sokbench.certifier("lipschitz_soft", lemma=3)


def test_soft_radii_hold_for_a_soft_classifier() -> None:
    """g = E[Phi((x_1 + z) / w)] = Phi(x_1 / sqrt(sigma^2 + w^2)): its distance to one half is x_1."""
    sigma = 0.5
    for w in (0.1, 0.5, 2.0):
        for x in (0.2, 0.7, 1.5):
            mean = float(norm.cdf(x / np.hypot(sigma, w)))
            assert float(SOFT.radius(mean, None, Gaussian(sigma))) <= x


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 0.5), (8.0, 2.0), (200.0, 2.0), (np.linspace(0.5, 50.0, 100), np.linspace(20.0, 0.5, 100))]
)
def test_bernstein_is_wrong_at_most_alpha_of_the_time(a: Any, b: Any) -> None:
    """Outputs that follow a Beta distribution, or each another one, 10,000 times."""
    alpha, n = 0.05, 100
    x = np.random.default_rng(0).beta(a, b, size=(10_000, n))
    truth = np.mean(a / (a + b))
    bounds = [bernstein_bound(float(m), float(s), n, alpha) for m, s in zip(x.mean(1), (x * x).mean(1), strict=True)]
    assert (np.array(bounds) > truth).mean() <= alpha
    assert bernstein_bound(0.7, 0.5, 1, alpha) == -np.inf


@pytest.mark.parametrize("n", [2, 1000, 10**8])
def test_bernstein_pays_for_the_rounding_of_sums(n: int) -> None:
    """Sums of equal outputs, as wrong as additions one after the other can make them, give no more than exact ones."""
    exact = mpmath.mpf(0.75)
    log = mpmath.log(mpmath.mpf(2) / mpmath.mpf(0.001))
    bound = exact - 7 * log / (3 * (n - 1))  # equal outputs vary by nothing
    worst = (n + 1) * 2.0**-53 if n > 2 else 0.0
    found = bernstein_bound(0.75 * (1 + worst), 0.75**2 * (1 - worst), n, 0.001)
    assert found <= bound
    assert found >= bound - 1e-6


def test_soft_statistics_replace_the_votes() -> None:
    selection, counts = np.array([9, 1]), np.array([990, 10])
    votes = SOFT.certify(selection, counts, Gaussian(0.5), 0.001)
    assert 0 < votes.radius < NP.certify(selection, counts, Gaussian(0.5), 0.001).radius
    sure = SOFT.certify(selection, counts, Gaussian(0.5), 0.001, {"soft_mean": 0.98, "soft_square": 0.9605})
    unsure = SOFT.certify(selection, counts, Gaussian(0.5), 0.001, {"soft_mean": 0.45, "soft_square": 0.21})
    assert sure.prediction == 0
    assert sure.p < 0.98
    assert (unsure.prediction, unsure.radius) == (ABSTAIN, 0.0)
