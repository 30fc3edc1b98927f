"""Dvijotham et al.'s certificate for Gaussian noise by the Kullback-Leibler divergence.

Only one thing is used of the shifted noise: KL(N(x + d) || N(x)) = ||d||^2 / (2 sigma^2). The least divergence that
lets B catch up with A, given P[A] >= p and P[B] <= q, is reached by moving mass between A, B and the rest so that both
meet at the geometric mean; it is -ln(1 - (sqrt p - sqrt q)^2). So A stays ahead for

    ||d||_2 < sigma sqrt(-2 ln(1 - (sqrt p - sqrt q)^2)).

Relaxed: all shifts of equal divergence are allowed, not only Gaussian ones. Other divergences of the paper give other
radii, and all hockey-stick divergences together the exact one, `neyman_pearson`. Sound for any base classifier, l2,
with confidence 1 - alpha; a few flops per input.

Krishnamurthy Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences,
ICLR 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class FDivergence(CountCertifier):
    """sigma sqrt(-2 ln(1 - (sqrt p - sqrt q)^2)) for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="f_divergence",
        title="f-divergence, Kullback-Leibler (Dvijotham et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The least Kullback-Leibler divergence that lets the second class catch up gives an l2 radius.",
        paper="Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences, "
        "ICLR 2020",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        value, error = kullback_leibler(p, tail, q)
        # the product adds half an ulp
        return noise.sigma * value, noise.sigma * (error + ULP * np.where(np.isinf(value), 0.0, value))


def kullback_leibler(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    """(sqrt(-2 ln(1 - (sqrt p - sqrt q)^2)), a bound of its error), as `CountCertifier.closed_form` wants it."""
    # sqrt p - sqrt q without cancellation; 5 ulp of itself
    gap = ((p - q) / (np.sqrt(p) + np.sqrt(q))) ** 2
    # where p is near 1, 1 - gap is better made of 1 - p, which is known as a number of its own, and of
    # 2 sqrt(pq) - q, which is not negative as p > q
    with np.errstate(divide="ignore"):
        rest = np.log(np.where(gap < 0.5, 1.0, tail + (2.0 * np.sqrt(p * q) - q)))
    value = np.sqrt(-2.0 * np.where(gap < 0.5, np.log1p(-np.minimum(gap, 0.5)), rest))
    # gap's 10 ulp reach the logarithm with a factor of at most 1.5, the sum's 6 ulp are an absolute error of a
    # logarithm below -0.69; the root halves either
    return value, 12 * ULP * np.where(np.isinf(value), 0.0, value)
