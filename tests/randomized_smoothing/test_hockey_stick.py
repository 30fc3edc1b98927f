"""Hockey-stick certificates: the divergence by quadrature, the limits that are known, the order among certificates."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import sokbench
from randomized_smoothing.hockey_stick import FACTORS, HockeyStick, _divergence
from randomized_smoothing.noise import Gaussian
from sokbench import InvalidInput


@pytest.mark.parametrize("b", [1e-3, 0.3, 0.7, 1.0, 2.5, 50.0])
@pytest.mark.parametrize("t", [0.1, 0.5, 1.2, 4.0])
def test_divergence_by_quadrature(b: float, t: float) -> None:
    """The integral of the positive part of the shifted density minus b times the other; where b < 1 less 1 - b, which
    leaves the integral of the negative part."""
    with mpmath.workdps(30):
        crossing = mpmath.mpf(t) / 2 + mpmath.log(b) / t
        sign = 1 if b >= 1 else -1
        points = [crossing + sign * step for step in (0, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64)]
        exact = mpmath.quad(lambda z: mpmath.npdf(z - t) - mpmath.mpf(b) * mpmath.npdf(z), points)
        found = float(_divergence(np.array([t]), np.array([[b]]))[0, 0])
        assert found >= exact or exact < 1e-300
        assert found - exact <= 1e-13


def exact_shift(p: Any, q: Any) -> Any:
    """The largest shift, by bisection in 60 digits, at which what is left of A exceeds what B can have got."""

    def ahead(t: Any) -> bool:
        least, most = [mpf(0)], [mpf(1) / 2]
        for factor in FACTORS:
            b = mpf(factor)
            log = mpmath.log(b)
            e = mpmath.ncdf(t / 2 - log / t) - b * mpmath.ncdf(-t / 2 - log / t) - max(1 - b, 0)
            least.append(b * p - e if b <= 1 else 1 - b * (1 - p) - e)
            most.append(b * q + e if b >= 1 else 1 - b * (1 - q) + e)
        return bool(max(least) > min(most))

    low, high = mpf(0), mpf(80)
    for _ in range(70):
        t = (low + high) / 2
        low, high = (t, high) if ahead(t) else (low, t)
    return low


@pytest.mark.parametrize("p", [0.2, 0.45, 0.5 + 2**-53, 0.6, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_radius_against_many_digits(p: float, share: float) -> None:
    q = share * min(1 - p, 0.9 * p)
    radius = float(sokbench.certifier("hockey_stick").radius(p, q, Gaussian(0.7)))
    with mpmath.workdps(60):
        exact = mpf(0.7) * exact_shift(mpf(p), mpf(q))
        assert radius <= exact
        assert exact - radius <= 1e-12 * max(1, exact)


def test_values_of_the_field() -> None:
    # (p, q) = (0.9, 0.1), sigma 0.5: factors 0.7 and 2.5, and total variation alone
    noise = Gaussian(0.5)
    two = float(sokbench.certifier("hockey_stick", factors=(0.7, 2.5)).radius(0.9, 0.1, noise))
    assert two == pytest.approx(0.6389, abs=5e-5)
    variation = float(sokbench.certifier("hockey_stick", factors=(1.0,)).radius(0.9, 0.1, Gaussian(1.0)))
    # 2 Phi(t/2) - 1 = (p - q) / 2
    assert variation == pytest.approx(2 * 0.5244005127080407, rel=1e-9)


def test_more_factors_certify_more_up_to_neyman_pearson() -> None:
    grid = np.concatenate([np.linspace(0.02, 0.98, 25), 1 - 10.0 ** -np.arange(2, 12), 10.0 ** -np.arange(2, 12)])
    p, q = np.meshgrid(grid, grid, indexing="ij")
    p, q = p[p + q <= 1], q[p + q <= 1]
    noise = Gaussian(0.5)
    radii = [
        HockeyStick(tuple(math.exp(k / steps) for k in range(-8 * steps, 8 * steps + 1))).radius(p, q, noise)
        for steps in (1, 2, 16)
    ]
    exact = sokbench.certifier("neyman_pearson").radius(p, q, noise)
    for fewer, more in zip(radii, [*radii[1:], exact], strict=True):
        assert (fewer <= more + 1e-12).all()
    well = (p > q) & (p < 0.99) & (q > 0.01)
    np.testing.assert_allclose(radii[-1][well], exact[well], atol=5e-3)
    np.testing.assert_allclose(sokbench.certifier("hockey_stick").radius(0.9, 0.1, noise), exact_at(0.9), rtol=0.02)


def exact_at(p: float) -> float:
    return float(sokbench.certifier("neyman_pearson").radius(p, 1 - p, Gaussian(0.5)))


def test_linf_is_the_l2_radius_over_the_root_of_the_dimension() -> None:
    p, q, noise = np.array([0.5, 0.9, 0.999]), np.array([0.2, 0.1, 1e-9]), Gaussian(0.7)
    exact = sokbench.certifier("neyman_pearson").radius(p, q, noise)
    for dimension in (1, 3072, 150_528):
        linf = sokbench.certifier("linf_from_l2", dimension=dimension).radius(p, q, noise)
        assert (linf <= exact / np.sqrt(dimension)).all()
        np.testing.assert_allclose(linf, exact / np.sqrt(dimension), rtol=1e-14)
    # sound for every input up to the size of ImageNet's where nobody says how large it is
    default = sokbench.certifier("linf_from_l2").radius(p, q, noise)
    np.testing.assert_allclose(default, exact / np.sqrt(150_528), rtol=1e-14)


@pytest.mark.parametrize("factors", [(), (0.0,), (-1.0,), (math.inf,)])
def test_bad_factors(factors: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="factors"):
        HockeyStick(factors)


@pytest.mark.parametrize("dimension", [0, -1, 2.5, True])
def test_bad_dimension(dimension: int) -> None:
    with pytest.raises(InvalidInput, match="dimension"):
        sokbench.certifier("linf_from_l2", dimension=dimension)
