"""The differential method: closed forms to many digits, rates against brute force, relations to exact certificates."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy import stats
from scipy.special import gammainccinv

import sokbench
from randomized_smoothing.differential import QUANTILE_ERROR
from randomized_smoothing.noise import Gaussian, GeneralizedGaussian, Laplace, LinfExponential, Noise, Pareto

TAILS = (1e-300, 1e-20, 1e-9, 0.001, 0.02, 0.2, 0.3, 0.45, 0.5 - 2**-30)


def exact_quantile(exponent: Any, tail: Any) -> Any:
    """s with Q(1 / exponent, s) = tail, by Newton's method from the float answer."""
    a, s = 1 / exponent, mpf(float(gammainccinv(1 / float(exponent), float(tail))))
    for _ in range(5):
        slope = s ** (a - 1) * mpmath.exp(-s) / mpmath.gamma(a)
        s += (mpmath.gammainc(a, s, regularized=True) - tail) / slope
    return s


def exact_time(noise: Any, u: Any) -> Any:
    """T(u): the integral from u to 1/2 of the inverse of the largest rate, from its closed forms in mpmath."""
    if isinstance(noise, GeneralizedGaussian):
        return exact_quantile(mpf(noise.exponent), 2 * u) ** (1 / mpf(noise.exponent))
    if isinstance(noise, Pareto):
        x, c = 1 - 2 * u, mpf(noise.shape) / (mpf(noise.shape) + 1)
        return x / mpf(noise.shape) * mpmath.hyp2f1(1, c, 1 + c, x ** (1 / c))
    face = mpf(1) / (2 * noise.dimension)
    slow = max(u, face)
    return (mpf(1) / 2 - slow) / face + (mpmath.log(face / u) if u < face else 0)


NOISES = [
    GeneralizedGaussian(0.7, 1.0),
    GeneralizedGaussian(0.7, 1.5),
    GeneralizedGaussian(0.7, 4.0),
    Pareto(0.7, 0.5),
    Pareto(0.7, 3.0),
    Pareto(0.7, 40.0),
    LinfExponential(0.7, 1),
    LinfExponential(0.7, 3),
    LinfExponential(0.7, 3072),
]


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_closed_forms_against_many_digits(noise: Noise) -> None:
    certifier = sokbench.certifier("differential")
    p = np.array([t for t in (*TAILS, *(1 - t for t in TAILS)) if 0 < t < 1])
    pairs = np.array([(a, b) for a in p for b in p if a > b])
    radii = certifier.radius(pairs[:, 0], pairs[:, 1], noise)
    with mpmath.workdps(60):
        times = {}
        for u in p:
            time = exact_time(noise, min(mpf(u), 1 - mpf(u)))
            times[u] = -time if u < 0.5 else time
        for (a, b), radius in zip(pairs, radii, strict=True):
            exact = mpf(0.7) / 2 * (times[a] - times[b])
            assert radius <= exact, (a, b)
            assert exact - radius <= 1e-12 * (1 + max(abs(times[a]), abs(times[b]))), (a, b)


def test_the_quantile_function_is_as_accurate_as_claimed() -> None:
    for exponent in (1.0, 1.3, 2.0, 4.0, 8.0):
        for tail in (1e-300, 1e-30, 1e-9, 0.001, 0.1, 0.4, 0.7, 0.99, 0.999999):
            found = float(gammainccinv(1 / exponent, tail))
            with mpmath.workdps(50):
                exact = exact_quantile(mpf(exponent), mpf(tail))
                assert abs(found / exact - 1) < QUANTILE_ERROR / 10, (exponent, tail)


def test_special_cases_are_the_exact_certificates() -> None:
    """Exponent 1 is Laplace noise, exponent 2 Gaussian noise along a coordinate; one dimension of l_inf is Laplace."""
    differential = sokbench.certifier("differential")
    p = np.linspace(0.3, 0.999, 40)
    q = p / 7
    laplace = sokbench.certifier("neyman_pearson_laplace").radius(p, q, Laplace(0.7))
    np.testing.assert_allclose(differential.radius(p, q, GeneralizedGaussian(0.7, 1.0)), laplace, rtol=1e-10)
    np.testing.assert_allclose(differential.radius(p, q, LinfExponential(0.7, 1)), laplace, rtol=1e-10)
    linf = sokbench.certifier("differential_linf").radius(p, q, LinfExponential(0.7, 50))
    np.testing.assert_allclose(linf, laplace, rtol=1e-12)
    gaussian = sokbench.certifier("neyman_pearson").radius(p, q, Gaussian(0.7))
    same = GeneralizedGaussian(0.7 * 2**0.5, 2.0)
    np.testing.assert_allclose(differential.radius(p, q, same), gaussian, rtol=1e-10)


LAWS = [
    (GeneralizedGaussian(1.0, 3.0), stats.gennorm(3.0), 4.0),
    (Pareto(1.0, 3.0), stats.lomax(3.0), 3e3),
]


@pytest.mark.parametrize(("noise", "law", "reach"), LAWS, ids=["gennorm", "pareto"])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.99])
def test_no_more_than_a_brute_force_neyman_pearson_test(noise: Noise, law: Any, reach: float, p: float) -> None:
    """One dimension cut into cells, filled greedily by likelihood ratio: just inside the radius A keeps one half. For
    the log-concave noise the radius is also the largest such."""

    def cdf(z: Any) -> Any:
        if isinstance(noise, Pareto):
            return 0.5 + 0.5 * np.sign(z) * law.cdf(np.abs(z))
        return law.cdf(z)

    radius = float(sokbench.certifier("differential").radius(p, None, noise))
    for shift, kept in ((0.999 * radius, True), (1.001 * radius, False)):
        # cells that shrink towards the two kinks of the densities, at 0 and at the shift
        grid = np.geomspace(1e-6, reach, 60_000)
        edges = np.unique(np.concatenate([-grid, [0.0, shift], grid, shift - grid, shift + grid]))
        here, there = np.diff(cdf(edges)), np.diff(cdf(edges - shift))
        order = np.argsort(np.divide(there, here, out=np.full(here.shape, np.inf), where=here > 0), kind="stable")
        worst = np.interp(p, np.cumsum(here[order]), np.cumsum(there[order]))
        if kept:
            assert worst > 0.5 - 1e-9
        elif isinstance(noise, GeneralizedGaussian):
            assert worst < 0.5


@pytest.mark.parametrize("dimension", [2, 5])
@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_rates_of_linf_exponential_noise_by_sampling(dimension: int, norm: str) -> None:
    """The score of a million samples, for random directions of the norm: no set of probability u loses faster than the
    closed form says, and the claimed worst direction attains it."""
    rng = np.random.default_rng(0)
    n = 200_000
    radius = rng.gamma(dimension, size=n)
    z = rng.uniform(-1, 1, (n, dimension))
    at = rng.integers(dimension, size=n)
    z[np.arange(n), at] = np.sign(z[np.arange(n), at])
    directions = rng.normal(size=(20, dimension))
    order = {"l1": 1, "linf": np.inf}[norm]
    directions /= np.linalg.norm(directions, ord=order, axis=1, keepdims=True)
    worst = np.eye(dimension)[:1] if norm == "l1" else np.ones((1, dimension))
    largest_coordinate = np.abs(z).argmax(axis=1)
    side = np.sign(z[np.arange(n), largest_coordinate])
    assert (radius > 0).all()
    for u in (0.03, 0.2, 0.5):
        limit = min(u, 1 / (2 * dimension)) if norm == "l1" else u
        for direction in np.concatenate([worst, directions]):
            score = np.sort(side * direction[largest_coordinate])[::-1]
            rate = score[: round(u * n)].sum() / n
            assert rate <= limit + 0.005
        first = np.sort(side * worst[0][largest_coordinate])[::-1]
        assert first[: round(u * n)].sum() / n == pytest.approx(limit, abs=0.005)


def test_laplace_beats_gaussian_in_l1_near_certainty() -> None:
    """Of equal deviation, Laplace beats Gaussian noise in l1 for p near 1, as Yang et al. find."""
    p, differential = 0.999, sokbench.certifier("differential")
    laplace = float(differential.radius(p, None, GeneralizedGaussian(0.5**0.5, 1.0)))
    gaussian = float(differential.radius(p, None, GeneralizedGaussian(2**0.5, 2.0)))
    assert laplace > gaussian > 0
