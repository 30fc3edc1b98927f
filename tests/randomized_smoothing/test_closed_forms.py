"""Every closed form against 50-digit arithmetic: within 1e-12, and never above."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import sokbench
from randomized_smoothing.maximize import maximize
from randomized_smoothing.noise import Gaussian, Laplace, Noise, Uniform

PROBABILITIES = (1e-300, 1e-9, 0.01, 0.2, 0.45, 0.5, 0.5 + 2**-53, 0.6, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53)
PAIRS = [(p, q) for p in PROBABILITIES for q in (0.0, *PROBABILITIES, 1 - p) if p > q]

Form = Callable[[Any, Any], Any]


def kullback_leibler(p: Any, q: Any) -> Any:
    return mpmath.sqrt(-2 * mpmath.log1p(-((mpmath.sqrt(p) - mpmath.sqrt(q)) ** 2)))


def linear(p: Any, q: Any) -> Any:
    return mpmath.sqrt(mpmath.pi / 2) * (p - q) / 2


def half_log_ratio(p: Any, q: Any) -> Any:
    return mpmath.log(p / q) / 2 if q > 0 else mpmath.inf


def teng(p: Any, q: Any) -> Any:
    return max(half_log_ratio(p, q), -mpmath.log(1 - p + q))


def laplace_quantiles(p: Any, q: Any) -> Any:
    def quantile(u: Any) -> Any:
        if u == 0:
            return -mpmath.inf
        return mpmath.log(2 * u) if u <= 0.5 else -mpmath.log(2 * (1 - u))

    return (quantile(p) - quantile(q)) / 2


def renyi(p: Any, q: Any) -> Any:
    """The supremum over the order by golden sections."""

    def radius(log_order: Any) -> Any:
        excess = mpmath.exp(log_order)
        mean = ((p**-excess + q**-excess) / 2) ** (-1 / excess) if q > 0 else mpf(0)
        return mpmath.sqrt(-2 / (1 + excess) * mpmath.log1p(-(p + q - 2 * mean)))

    return largest(radius, -30, 8)


def renyi_laplace(p: Any, q: Any) -> Any:
    """For each order the shift by bisection, and the supremum over the order by golden sections."""

    def shift(log_order: Any) -> Any:
        excess = mpmath.exp(log_order)
        order = 1 + excess
        mean = ((p**-excess + q**-excess) / 2) ** (-1 / excess) if q > 0 else mpf(0)
        least = -mpmath.log1p(-(p + q - 2 * mean))
        low, high = mpf(0), least + 1
        for _ in range(90):
            t = (low + high) / 2
            inner = order * mpmath.exp(excess * t) + excess * mpmath.exp(-order * t)
            low, high = (t, high) if mpmath.log(inner / (order + excess)) / excess <= least else (low, t)
        return low

    return largest(shift, -30, 8)


def pixel_dp(p: Any, q: Any) -> Any:
    def radius(e: Any) -> Any:
        delta = min((p - mpmath.exp(2 * e) * q) / (1 + mpmath.exp(e)), 1.25 * mpmath.exp(mpf(-9) / 8))
        return e / mpmath.sqrt(2 * mpmath.log(1.25 / delta)) if delta > 0 else mpf(0)

    return largest(radius, mpf(0), min(mpf(1), half_log_ratio(p, q)))


def uniform_linf(p: Any, q: Any) -> Any:
    return -2 * mpmath.expm1(mpmath.log1p(-(mpf(p) - mpf(q)) / 2) / 150_528)


def largest(function: Form, low: Any, high: Any) -> Any:
    points = [low + (high - low) * k / 40 for k in range(41)]
    best = max(range(41), key=lambda k: function(points[k]))
    left, right = points[max(best - 1, 0)], points[min(best + 1, 40)]
    golden = (mpmath.sqrt(5) - 1) / 2
    for _ in range(70):
        a, b = right - golden * (right - left), left + golden * (right - left)
        if function(a) < function(b):
            left = a
        else:
            right = b
    return max(function(points[best]), function((left + right) / 2))


def divergence(name: str) -> Form:
    """The shift at which the divergence of Gaussian noise reaches its least value, found by golden sections over t."""
    f = {
        "kullback_leibler": lambda x: x * mpmath.log(x) if x > 0 else mpf(0),
        "reverse_kullback_leibler": lambda x: -mpmath.log(x) if x > 0 else mpmath.inf,
        "chi_squared": lambda x: x * x - 1,
        "reverse_chi_squared": lambda x: 1 / x - 1 if x > 0 else mpmath.inf,
        "hellinger": lambda x: 1 - mpmath.sqrt(x),
        "total_variation": lambda x: abs(x - 1) / 2,
    }[name]
    shift = {
        "kullback_leibler": lambda d: mpmath.sqrt(2 * d),
        "reverse_kullback_leibler": lambda d: mpmath.sqrt(2 * d),
        "chi_squared": lambda d: mpmath.sqrt(mpmath.log1p(d)),
        "reverse_chi_squared": lambda d: mpmath.sqrt(mpmath.log1p(d)),
        "hellinger": lambda d: mpmath.sqrt(-8 * mpmath.log1p(-d)),
        # 2 Phi(e/2) - 1 = erf(e / sqrt 8)
        "total_variation": lambda d: mpmath.sqrt(8) * mpmath.erfinv(d),
    }[name]

    def radius(p: Any, q: Any) -> Any:
        rest = 1 - p - q

        def least(t: Any) -> Any:
            return -(p * f(t / p) + q * f(t / q) + rest * f((1 - 2 * t) / rest))

        return shift(-largest(least, min(p, q), max(p, q) if p <= 0.5 else mpf(1) / 2))

    return radius


@pytest.mark.parametrize(
    "name",
    [
        "kullback_leibler",
        "reverse_kullback_leibler",
        "chi_squared",
        "reverse_chi_squared",
        "hellinger",
        "total_variation",
    ],
)
def test_closed_forms_of_f_divergences_are_the_least_ones(name: str) -> None:
    certifier = sokbench.certifier("f_divergences", divergences=(name,))
    pairs = [
        (p, q) for p in (0.02, 0.3, 0.45, 0.5, 0.6, 0.9, 0.999) for q in (1e-6, 0.01, 0.2, 0.4) if q < p <= 0.999 - q
    ]
    p, q = np.array(pairs).T
    radii = certifier.radius(p, q, Gaussian(0.7))
    with mpmath.workdps(60):
        for (a, b), radius in zip(pairs, radii, strict=True):
            exact = mpf(0.7) * divergence(name)(mpf(a), mpf(b))
            assert radius <= exact, (a, b)
            assert exact - radius <= 1e-12 * max(1, exact), (a, b)


def best_divergence(p: Any, q: Any) -> Any:
    """The largest of the six closed forms, as they are written."""
    rest, root = 1 - p - q, (mpmath.sqrt(p) - mpmath.sqrt(q)) ** 2
    harmonic = 4 * p * q / (p + q)
    reverse = p * mpmath.log(2 * p / (p + q)) + (q * mpmath.log(2 * q / (p + q)) if q > 0 else 0)
    chi = mpmath.inf if harmonic + rest == 0 else mpmath.sqrt(mpmath.log1p((p - q) ** 2 / (p + q) / (harmonic + rest)))
    return max(
        kullback_leibler(p, q),
        mpmath.sqrt(2 * reverse),
        chi,
        mpmath.sqrt(2 * mpmath.log(mpmath.sqrt(2 * (p * p + q * q)) + rest)),
        mpmath.sqrt(-4 * mpmath.log1p(-root / 2)),
        mpmath.sqrt(8) * mpmath.erfinv((p - q) / 2),
    )


FORMS: list[tuple[str, Noise, Form]] = [
    ("f_divergence", Gaussian(0.7), kullback_leibler),
    ("f_divergences", Gaussian(0.7), best_divergence),
    ("lipschitz", Gaussian(0.7), linear),
    ("renyi", Gaussian(0.7), renyi),
    ("pixel_dp", Gaussian(0.7), pixel_dp),
    ("renyi_laplace", Laplace(0.7), renyi_laplace),
    ("pixel_dp_laplace", Laplace(0.7), half_log_ratio),
    ("teng", Laplace(0.7), teng),
    ("neyman_pearson_laplace", Laplace(0.7), laplace_quantiles),
    ("neyman_pearson_uniform", Uniform(0.7), lambda p, q: p - q),
    ("neyman_pearson_uniform_linf", Uniform(0.7), uniform_linf),
]


# fewer pairs where the reference itself searches for a maximum
STRIDE = {"renyi": 3, "pixel_dp": 3, "renyi_laplace": 25}


@pytest.mark.parametrize(("slug", "noise", "form"), FORMS, ids=[slug for slug, _, _ in FORMS])
def test_closed_form_against_many_digits(slug: str, noise: Noise, form: Form) -> None:
    certifier = sokbench.certifier(slug)
    pairs = PAIRS[:: STRIDE.get(slug, 1)]
    p, q = np.array(pairs).T
    radii = certifier.radius(p, q, noise)
    with mpmath.workdps(80):  # the closed forms as written cancel up to 50 digits on this grid
        for (a, b), radius in zip(pairs, radii, strict=True):
            exact = mpf(0.7) * form(mpf(a), mpf(b))
            if mpmath.isinf(exact):
                assert radius == np.inf
                continue
            assert radius <= exact, (a, b)
            assert exact - radius <= 1e-12 * max(1, exact), (a, b)


@pytest.mark.parametrize(("slug", "noise", "form"), FORMS, ids=[slug for slug, _, _ in FORMS])
def test_certain_classes(slug: str, noise: Noise, form: Form) -> None:
    """p = 1, q = 0 exactly: no bound where the closed form has none, the largest value where it has."""
    radius = float(sokbench.certifier(slug).radius(1.0, 0.0, noise))
    finite = {"lipschitz": 0.7 * (np.pi / 2) ** 0.5 / 2, "neyman_pearson_uniform": 0.7, "pixel_dp": 0.5705 * 0.7}
    finite["neyman_pearson_uniform_linf"] = 0.7 * float(uniform_linf(1, 0))
    assert radius == pytest.approx(finite.get(slug, np.inf), rel=1e-4)


def test_values_of_the_field() -> None:
    """(p, q) = (0.9, 0.1), sigma = 0.5 and (0.9, 0.01), scale 0.5, as the literature's own code gives them."""
    for slug, expected in (
        ("pixel_dp", 0.1951),
        ("f_divergence", 0.5054),
        ("renyi", 0.5160),
        ("neyman_pearson", 0.6408),
    ):
        assert float(sokbench.certifier(slug).radius(0.9, 0.1, Gaussian(0.5))) == pytest.approx(expected, abs=5e-5)
    assert float(sokbench.certifier("teng").radius(0.9, 0.01, Laplace(0.5))) == pytest.approx(1.1250, abs=5e-5)
    # order 2 alone gives 1.2244
    assert float(sokbench.certifier("renyi_laplace").radius(0.9, 0.01, Laplace(0.5))) >= 1.2244
    exact = sokbench.certifier("neyman_pearson_laplace").radius(0.9, 0.01, Laplace(0.5))
    assert float(exact) == pytest.approx(1.3804, abs=5e-5)


def test_maximize_finds_maxima_inside_and_at_the_ends() -> None:
    centre = np.array([0.3, -2.0, 5.0])
    found = maximize(lambda x: 1.0 - (x - centre) ** 2, np.full(3, -1.0), np.full(3, 2.0))
    np.testing.assert_allclose(found, [1.0, 0.0, -8.0], atol=1e-12)
    assert maximize(lambda x: np.full(x.shape, -np.inf), np.zeros(1), np.ones(1)) == -np.inf
