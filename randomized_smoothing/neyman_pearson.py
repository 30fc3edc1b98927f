"""Cohen et al.'s certificate for Gaussian noise, exact by the Neyman-Pearson lemma.

Of all base classifiers with P[A] >= p and P[B] <= q under N(x, sigma^2 I), the worst for a shift d is a linear one
(Neyman and Pearson: its acceptance region is a half-space across d). Its top class survives exactly the shifts with

    ||d||_2 < sigma/2 (Phi^-1(p) - Phi^-1(q)),        sigma Phi^-1(p) where q = 1 - p.

Nothing is relaxed: for knowledge of p and q alone no larger l2 radius is true. Sound for any measurable base classifier
and the l2 norm, with confidence 1 - alpha over the sampling; costs a few flops per input once the counts are there.

Jeremy Cohen, Elan Rosenfeld, Zico Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019,
theorem 1 (two-sided) and algorithm CERTIFY (one-sided).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from scipy.special import ndtri

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class NeymanPearson(CountCertifier):
    """sigma/2 (Phi^-1(p) - Phi^-1(q)) for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neyman_pearson",
        title="Neyman-Pearson (Cohen et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The largest l2 radius that the class probabilities under Gaussian noise imply, exact.",
        paper="Cohen, Rosenfeld, Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019",
        url="https://arxiv.org/abs/1902.02918",
        deterministic=False,
        uses_box=False,
        tighter_than=("renyi", "f_divergence", "hockey_stick", "lipschitz", "pixel_dp"),
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        return half_distance_of_quantiles(p, tail, q, noise.sigma)


def half_distance_of_quantiles(p: Floats, tail: Floats, q: Floats, sigma: float) -> tuple[Floats, Floats]:
    """(sigma/2 (Phi^-1(p) - Phi^-1(q)), a bound of its error), as `CountCertifier.closed_form` wants it."""
    # Phi^-1(p) = -Phi^-1(1 - p), taken where the argument is the small one
    top = np.where(p < 0.5, ndtri(p), -ndtri(tail))
    other = ndtri(q)
    # ndtri (Cephes) states a peak relative error of 7.2e-16, about 3 ulp; sum and product add 2 more, so 8 suffice
    return sigma / 2 * (top - other), 8 * ULP * (sigma / 2 * (np.abs(top) + np.abs(other)))
