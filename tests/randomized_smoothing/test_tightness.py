"""How the certificates stand to each other, to a brute-force Neyman-Pearson test, and to real classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import norm

import sokbench
from randomized_smoothing.noise import Gaussian, Laplace, Noise, Pareto, Uniform

# (looser, tighter): proved in the papers, or by the inequality of the means; every one certifies no more than the exact
# one of its noise, which is what makes it sound
GAUSSIAN = [
    ("pixel_dp", "neyman_pearson"),
    ("lipschitz", "neyman_pearson"),
    ("f_divergence", "renyi"),
    ("f_divergence", "f_divergences"),
    ("f_divergences", "neyman_pearson"),
    ("lipschitz", "lipschitz_soft"),
    ("neyman_pearson", "first_order"),
    ("renyi", "neyman_pearson"),
    ("hockey_stick", "neyman_pearson"),
    ("neyman_pearson_classwise", "neyman_pearson"),
    ("linf_from_l2", "neyman_pearson"),
]
LAPLACE = [
    ("pixel_dp_laplace", "teng"),
    ("teng", "neyman_pearson_laplace"),
    ("renyi_laplace", "neyman_pearson_laplace"),
]
RELATIONS = [(*pair, Gaussian(0.5)) for pair in GAUSSIAN] + [(*pair, Laplace(0.5)) for pair in LAPLACE]


@pytest.mark.parametrize(("looser", "tighter", "noise"), RELATIONS)
def test_order_of_certificates(looser: str, tighter: str, noise: Noise) -> None:
    grid = np.concatenate([10.0 ** -np.arange(1, 13), np.linspace(0.02, 0.98, 60), 1 - 10.0 ** -np.arange(2, 13)])
    p, q = np.meshgrid(grid, grid, indexing="ij")
    p, q = p[p + q <= 1], q[p + q <= 1]
    small = sokbench.certifier(looser).radius(p, q, noise)
    large = sokbench.certifier(tighter).radius(p, q, noise)
    np.testing.assert_array_less(small, large + 1e-12 * (1 + np.minimum(large, 1e300)))


def test_pixel_dp_is_below_renyi_where_q_is_one_minus_p() -> None:
    p = np.concatenate([np.linspace(0.5, 1, 200)[1:-1], 1 - 10.0 ** -np.arange(2, 15)])
    noise = Gaussian(0.5)
    assert (
        sokbench.certifier("pixel_dp").radius(p, None, noise) <= sokbench.certifier("renyi").radius(p, None, noise)
    ).all()


def test_teng_is_exact_one_sided_and_loose_two_sided() -> None:
    teng, exact, noise = sokbench.certifier("teng"), sokbench.certifier("neyman_pearson_laplace"), Laplace(2.0)
    p = np.linspace(0.51, 0.999, 50)
    np.testing.assert_allclose(teng.radius(p, None, noise), exact.radius(p, None, noise), rtol=1e-12)
    assert (exact.radius(p, (1 - p) / 10, noise) > 1.0001 * teng.radius(p, (1 - p) / 10, noise)).all()


def test_f_divergence_one_sided_form() -> None:
    # Dvijotham et al.'s one-versus-rest form: sigma sqrt(-ln(4 p (1 - p)))
    p = np.linspace(0.51, 0.9999, 50)
    expected = 0.5 * np.sqrt(-np.log(4 * p * (1 - p)))
    np.testing.assert_allclose(sokbench.certifier("f_divergence").radius(p, None, Gaussian(0.5)), expected, rtol=1e-9)


LAWS = [
    ("neyman_pearson", Gaussian(1.0), stats.norm(), 9.0),
    ("neyman_pearson_laplace", Laplace(1.0), stats.laplace(), 30.0),
    ("neyman_pearson_uniform", Uniform(1.0), stats.uniform(-1, 2), 1.0),
]


@pytest.mark.parametrize(("slug", "noise", "law", "reach"), LAWS, ids=[slug for slug, *_ in LAWS])
@pytest.mark.parametrize(("p", "q"), [(0.6, 0.4), (0.9, 0.02), (0.45, 0.3), (0.97, 0.03)])
def test_brute_force_neyman_pearson(slug: str, noise: Noise, law: Any, reach: float, p: float, q: float) -> None:
    """One dimension cut into cells: fill A and B greedily by likelihood ratio and compare them after the shift."""
    radius = float(sokbench.certifier(slug).radius(p, q, noise))
    for shift, ahead in ((0.99 * radius, True), (1.01 * radius, False)):
        edges = np.linspace(-reach, reach + shift, 200_001)
        here, there = np.diff(law.cdf(edges)), np.diff(law.cdf(edges - shift))
        order = np.argsort(np.divide(there, here, out=np.full(here.shape, np.inf), where=here > 0), kind="stable")
        before, after = np.cumsum(here[order]), np.cumsum(there[order])
        worst_a = np.interp(p, before, after)
        best_b = 1 - np.interp(1 - q, before, after)
        assert (worst_a > best_b) == ahead


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.05, 1.0), st.floats(0.01, 0.5))
def test_the_gaussian_mechanism_keeps_its_promise(p: float, e: float, share: float) -> None:
    """The theorem PixelDP rests on, against the exact privacy curve (Balle and Wang 2018, theorem 8)."""
    delta = min(share * p, 1.25 * np.exp(-9 / 8))
    r = e / np.sqrt(2 * np.log(1.25 / delta))
    exact = norm.cdf(r / 2 - e / r) - np.exp(e) * norm.cdf(-r / 2 - e / r)
    assert exact <= delta


SLABS = [
    *(
        (slug, Gaussian(0.5), stats.norm(0, 0.5))
        for slug in ("neyman_pearson", "pixel_dp", "lipschitz", "f_divergence")
    ),
    *((slug, Gaussian(0.5), stats.norm(0, 0.5)) for slug in ("f_divergences", "renyi", "hockey_stick", "first_order")),
    *((slug, Laplace(0.5), stats.laplace(0, 0.5)) for slug in ("neyman_pearson_laplace", "teng", "renyi_laplace")),
    ("pixel_dp_laplace", Laplace(0.5), stats.laplace(0, 0.5)),
    ("neyman_pearson_uniform", Uniform(1.0), stats.uniform(-1, 2)),
    ("differential", Pareto(0.5, 3.0), stats.lomax(3, scale=0.5)),
]


@pytest.mark.parametrize(("slug", "noise", "law"), SLABS, ids=[slug for slug, *_ in SLABS])
def test_no_certificate_exceeds_the_distance_of_a_two_sided_classifier(slug: str, noise: Noise, law: Any) -> None:
    """A slab |x + z| < w as class A: the distance at which an attack on the exact smoothed classifier succeeds, found
    by bisection, exceeds every certificate."""

    def cdf(z: float) -> float:
        if isinstance(noise, Pareto):  # scipy has one half of it
            return float(0.5 + np.sign(z) * law.cdf(abs(z)) / 2)
        return float(law.cdf(z))

    certified = 0
    for half_width in (0.4, 0.6, 1.0, 2.0):

        def inside(shift: float, w: float = half_width) -> float:
            return cdf(w - shift) - cdf(-w - shift)

        low, high = 0.0, 4.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (middle, high) if inside(middle) > 0.5 else (low, middle)
        radius = float(sokbench.certifier(slug).radius(inside(0.0), None, noise))
        certified += radius > 0
        assert radius <= high
    assert certified >= 3


def test_uniform_linf_is_exact_and_meets_l1_in_one_dimension() -> None:
    p, q, noise = np.linspace(0.3, 1.0, 30), np.linspace(0.2, 0.0, 30), Uniform(0.5)
    line = sokbench.certifier("neyman_pearson_uniform_linf", dimension=1).radius(p, q, noise)
    np.testing.assert_allclose(line, sokbench.certifier("neyman_pearson_uniform").radius(p, q, noise), rtol=1e-14)
    # the shared volume of two cubes in 30 dimensions: at the radius, what is lost is half the lead
    radius = sokbench.certifier("neyman_pearson_uniform_linf", dimension=30).radius(p, q, noise)
    np.testing.assert_allclose(1 - (1 - radius / (2 * 0.5)) ** 30, (p - q) / 2, rtol=1e-12)
