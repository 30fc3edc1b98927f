"""Yang et al.'s differential method: l1 certificates for noises of other shapes.

Let F(u) be the largest rate, per unit of ||d||_1, at which a set of probability u can lose probability when the input
moves. The worst direction is a coordinate (the rate is convex in the direction, so largest at a vertex of the l1 ball);
there the worst set of probability u holds the noise z where the score, -d/dz_1 ln density, is largest. Then

    P'[A] and P'[B] stay apart for ||d||_1 < (G(p) - G(q)) / 2,    G(u) = integral from 1/2 to u of 1 / F,

or ||d||_1 < G(p) where q = 1 - p. F is symmetric, F(u) = F(1 - u), so G(u) = -T(u) for u < 1/2 with T(u) the integral
from u to 1/2. Per noise, in units of its scale:

- generalized Gaussian (log-concave): the score grows with z_1, the sets are half-spaces, T(u) = -quantile(u): exact;
- Pareto of shape a: the score falls with |z_1|; the sets are slices next to zero, F(u) = a/2 (1 - (1 - 2u)^(1 + 1/a)),
  T(u) = x/a 2F1(1, c; 1 + c; x^(1/c)) with x = 1 - 2u and c = a / (a + 1);
- l_inf exponential in d dimensions: the score is 1 on one face of the cubes, of probability 1/(2d), and 0 on the other
  coordinates' faces: F(u) = min(u, 1/(2d)), T(u) = d - 2du, plus the logarithm ln(1/(2du)) below u = 1/(2d) where the
  first part ends at d - 1.

Relaxed: the worst set may be another one after every step, which only half-spaces rule out. Sound for any base
classifier, l1, with confidence 1 - alpha; a few special functions per input.

Greg Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import numpy as np
from scipy.special import gammainccinv, psi

from sokbench.core.errors import Unsupported
from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import GeneralizedGaussian, LinfExponential, Noise, Pareto

if TYPE_CHECKING:
    from .count_certifier import Floats

QUANTILE_ERROR: Final = 4e-13
"""`gammainccinv` is wrong by less than this, relative to its value (measured against 50 digits: at most 2e-14 for
exponents from 1 to 8; tests/randomized_smoothing/test_differential.py)."""
TERMS: Final = 60
"""Of series that shrink by one half or more per term: what is left out is below the last bit."""


@final
class Differential(CountCertifier):
    """(G(p) - G(q)) / 2 with G the integral of the inverse of the largest rate of change, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="differential",
        title="Differential method (Yang et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="The largest rate at which class probabilities change, integrated, for noises of many shapes.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (GeneralizedGaussian, Pareto, LinfExponential)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Any) -> tuple[Floats, Floats]:
        top, top_error = _reach(p, tail, noise)
        other, other_error = _reach(q, 1.0 - q, noise)
        scale = noise.scale / 2
        # sum and product, half an ulp each, on top
        size = np.abs(top) + np.abs(other)
        return scale * (top - other), scale * (top_error + other_error + 2 * ULP * size)


def _reach(u: Floats, tail: Floats, noise: Noise) -> tuple[Floats, Floats]:
    """(G(u), bound of its error) in units of the scale; tail: 1 - u."""
    value, error = time_to_half(noise, np.minimum(u, tail))
    return np.where(u < tail, -value, value), error


@singledispatch
def time_to_half(noise: Noise, u: Floats) -> tuple[Floats, Floats]:
    """(T(u), bound of its error) for 0 <= u <= 1/2, in units of the scale: how far a set of probability u must be moved
    at least to reach one half. T(0) is infinite for all three noises."""
    raise Unsupported(f"no rates of change are known for {noise.kind} noise")


@time_to_half.register(GeneralizedGaussian)
def _(noise: GeneralizedGaussian, u: Floats) -> tuple[Floats, Floats]:
    # P[|z| > s] = Q(1 / exponent, s^exponent)
    value: Floats = gammainccinv(1.0 / noise.exponent, 2.0 * u) ** (1.0 / noise.exponent)
    # where u is close to 1/2 the value is small and 2u - 1 exact; the power's relative error is no larger
    return value, (QUANTILE_ERROR + 2 * ULP) * np.where(np.isinf(value), 0.0, value)


@time_to_half.register(Pareto)
def _(noise: Pareto, u: Floats) -> tuple[Floats, Floats]:
    c = noise.shape / (noise.shape + 1.0)
    with np.errstate(divide="ignore"):
        log_z = np.log1p(-2.0 * u) / c  # -inf at u = 1/2, where z = 0
    z, rest = np.exp(log_z), -np.expm1(log_z)
    x = 1.0 - 2.0 * u
    near, far = np.minimum(rest, 0.5), np.minimum(z, 0.5)
    # Abramowitz and Stegun 15.3.10 with a = 1: c times the sum of (c)_n / n! (psi(n+1) - psi(c+n) - ln rest) rest^n
    log_rest = np.log(np.where(near > 0.0, near, 0.5))
    around_one, term = np.zeros(u.shape), np.full(u.shape, c)
    around_zero, power = np.zeros(u.shape), np.ones(u.shape)
    for n in range(TERMS):
        around_one += term * (psi(n + 1.0) - psi(c + n) - log_rest)
        term = term * near * (c + n) / (n + 1)
        around_zero += power * c / (n + c)
        power = power * far
    value = np.where(near > 0.0, x / noise.shape * np.where(rest < 0.5, around_one, around_zero), np.inf)
    # no term is negative (psi grows, c < 1), so sums of 60 terms err by less than 2 ulp per term in all, and the terms
    # by the 4 ulp that log_z passes on to `rest`, 60 times in the last powers, which are below 2^-60
    return value, 128 * ULP * np.where(np.isinf(value), 0.0, value)


@time_to_half.register(LinfExponential)
def _(noise: LinfExponential, u: Floats) -> tuple[Floats, Floats]:
    d = noise.dimension
    slow = np.maximum(u, 0.5 / d)
    with np.errstate(divide="ignore"):
        fast = np.log(np.maximum(1.0 / (2.0 * d * u), 1.0))
    value = d * (1.0 - 2.0 * slow) + fast
    # 1/(2du) errs by 2 ulp, absolutely in the logarithm; 1/(2d) by half an ulp of at most 1/2, times 2d
    return value, 3 * ULP * (np.where(np.isinf(value), 0.0, value) + 2.0)
