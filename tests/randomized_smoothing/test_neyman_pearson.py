from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

import sokbench
from randomized_smoothing.neyman_pearson import NeymanPearson
from randomized_smoothing.noise import Gaussian
from sokbench import InvalidInput, Unsupported

PROBABILITIES = (1e-300, 1e-9, 0.01, 0.2, 0.5, 0.5 + 2**-53, 0.6, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53)


def quantile(p: mpmath.mpf) -> mpmath.mpf:
    """Phi^-1 to 50 digits."""
    with mpmath.workdps(60):
        if p == 0.5:
            return mpmath.mpf(0)
        if p > 0.5:
            return -quantile(1 - p)
        return mpmath.findroot(lambda z: mpmath.log(mpmath.ncdf(z) / p), mpmath.mpf(float(norm.ppf(float(p)))))


@pytest.mark.parametrize("sigma", [0.12, 1.0, 7.5])
@pytest.mark.parametrize("p", PROBABILITIES)
def test_closed_form_against_fifty_digits(p: float, sigma: float) -> None:
    certifier, noise = sokbench.certifier("neyman_pearson"), Gaussian(sigma)
    for q in (None, *PROBABILITIES):
        with mpmath.workdps(60):
            top = mpmath.mpf(p)
            other = 1 - top if q is None else mpmath.mpf(q)
            exact = mpmath.mpf(sigma) / 2 * (quantile(top) - quantile(other)) if top > other else mpmath.mpf(0)
            exact = max(exact, mpmath.mpf(0))
            radius = float(certifier.radius(p, q, noise))
            assert radius <= exact  # rounded down, never up
            assert abs(radius - exact) <= 1e-12 * max(exact, mpmath.mpf(sigma))


@pytest.mark.parametrize("exponent", [-20, -100, -300])
def test_tiny_complements_have_their_own_representation(exponent: int) -> None:
    """1 - p below the spacing of floats near 1: the closed form takes it as a number of its own."""
    tail = np.array([10.0**exponent])
    value, error = NeymanPearson().closed_form(1 - tail, tail, tail, Gaussian(1.0))
    with mpmath.workdps(60):
        exact = -quantile(mpmath.mpf(10.0**exponent))
    assert float(value[0]) == pytest.approx(float(exact), rel=1e-14)
    assert value[0] - error[0] <= exact <= value[0] + error[0]


def test_shapes_and_edges() -> None:
    certifier, noise = sokbench.certifier("neyman_pearson"), Gaussian(0.5)
    radius = certifier.radius(np.array([[0.6], [0.9]]), np.array([0.1, 0.2, 0.95]), noise)
    assert radius.shape == (2, 3)
    assert (radius[:, 2] == 0).all()
    assert radius[1, 0] > radius[0, 0] > radius[0, 1] > 0
    assert certifier.radius(0.5, None, noise) == 0
    assert certifier.radius(0.3, None, noise) == 0
    assert certifier.radius(0.4, 0.1, noise) > 0  # below one half, but above every other class
    assert certifier.radius(1.0, None, noise) == math.inf


def test_refuses_what_it_is_not_made_for() -> None:
    certifier = sokbench.certifier("neyman_pearson")
    with pytest.raises(Unsupported, match="gaussian"):
        certifier.radius(0.9, None, object())
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(InvalidInput, match="probability"):
            certifier.radius(bad, None, Gaussian(1.0))


def test_no_linear_classifier_beats_the_radius() -> None:
    """Tightness: at a shift of the radius, the half-space classifier with P[A] = p is exactly at one half."""
    sigma, p = 0.7, np.array([0.55, 0.8, 0.99, 0.9999])
    radius = sokbench.certifier("neyman_pearson").radius(p, None, Gaussian(sigma))
    shifted = norm.cdf(norm.ppf(p) - radius / sigma)
    np.testing.assert_allclose(shifted, 0.5, atol=1e-12)
    assert (shifted >= 0.5).all()
