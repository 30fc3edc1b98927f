"""Li et al.'s certificate for Gaussian noise by Renyi divergences.

The Renyi divergence of order a of shifted Gaussian noise is a ||d||^2 / (2 sigma^2). The least divergence that lets B
catch up with A, given P[A] >= p and P[B] <= q, is -ln(1 - p - q + 2 M), where M is the power mean of p and q with
exponent 1 - a. So for every order a > 1, A stays ahead for

    ||d||_2 < sigma sqrt(-(2 / a) ln(1 - p - q + 2 M_{1-a}(p, q))),

and the largest is taken. At a -> 1, M is the geometric mean and this is the Kullback-Leibler radius (`f_divergence`).
Relaxed: one number, the divergence, stands for the shifted noise. Sound for any base classifier, l2, with confidence
1 - alpha; a search in one variable per input.

Bai Li, Changyou Chen, Wenlin Wang, Lawrence Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .maximize import maximize
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats

LOG_ORDERS: Final = (-30.0, 8.0)
"""Range of ln(a - 1) that is searched: from the limit a -> 1, to the last bits, to order 3,000."""


@final
class Renyi(CountCertifier):
    """The best radius over the order of the Renyi divergence, for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="renyi",
        title="Renyi divergence (Li et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The least Renyi divergence, of the best order, with which B catches up with A gives an l2 radius.",
        paper="Li, Chen, Wang, Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019",
        url="https://arxiv.org/abs/1809.03113",
        deterministic=False,
        uses_box=False,
        tighter_than=("f_divergence",),
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        def radius(log_order: Floats) -> Floats:
            order = 1.0 + np.exp(log_order)
            return np.sqrt(np.maximum(2.0 / order * least_divergence(p, tail, q, np.exp(log_order)), 0.0))

        low, high = (np.full(p.shape, end) for end in LOG_ORDERS)
        value = noise.sigma * maximize(radius, low, high)
        # the divergence is safe already; quotient, root and product add half an ulp each
        return value, 4 * ULP * value


def least_divergence(p: Floats, tail: Floats, q: Floats, excess: Floats) -> Floats:
    """Lower bound of -ln(1 - p - q + 2 M), with M the power mean of p and q with exponent -excess = 1 - a.

    p, tail, q: (n,), q < p; excess: (m, n), positive. Returns (m, n), safe against rounding.

    With w = ln(p / q) / 2, M = sqrt(pq) exp(-y) and y = ln cosh(excess w) / excess, so that
    p + q - 2M = (sqrt p - sqrt q)^2 + 2 sqrt(pq) (1 - exp(-y)): a sum of two terms that are not negative.
    """
    with np.errstate(divide="ignore"):
        half_ratio = np.log1p((p - q) / q) / 2
    geometric, y = np.sqrt(p * q), _log_cosh(excess * half_ratio) / excess
    # y errs by 8 ulp of itself (half_ratio by 2, which ln cosh doubles), and every term of gap by no more than 12
    gap = (((p - q) / (np.sqrt(p) + np.sqrt(q))) ** 2 - 2.0 * geometric * np.expm1(-y)) * (1.0 - 16 * ULP)
    # where p is near 1, 1 - gap is better made of 1 - p, which is known as a number of its own
    mean = geometric * np.exp(-y) * (1.0 + 8 * ULP * (1.0 + np.minimum(y, 1e3)))
    rest = tail - q + 2.0 * mean + 4 * ULP * (tail + q + 2.0 * mean)
    with np.errstate(divide="ignore"):
        divergence = np.where(gap < 0.5, -np.log1p(-np.minimum(gap, 0.5)), -np.log(np.maximum(rest, 0.0)))
    return divergence * (1.0 - 4 * ULP)


def _log_cosh(x: Floats) -> Floats:
    """ln cosh x for x >= 0, to a few ulp of itself at both ends, and without overflow."""
    small = np.minimum(x, 1.0)
    return np.where(x < 1.0, np.log1p(2.0 * np.sinh(small / 2.0) ** 2), x - np.log(2.0) + np.log1p(np.exp(-2.0 * x)))
