"""PixelDP's certificate for Gaussian noise: approximate differential privacy.

Gaussian noise of deviation sigma makes the prediction (e, delta)-differentially private against l2 changes of size r if
sigma >= sqrt(2 ln(1.25 / delta)) r / e and e < 1 (the Gaussian mechanism of Dwork and Roth, theorem A.1). With P[A] >=
p and P[B] <= q, A stays ahead if p > e^(2e) q + (1 + e^e) delta (Lecuyer et al., proposition 1). The largest delta that
leaves this true, delta = (p - e^(2e) q) / (1 + e^e), gives for every e a radius

    r = sigma e / sqrt(2 ln(1.25 / delta)),

and every e in (0, 1) is sound, so the largest is taken. The theorem's proof needs 1.25 / delta >= e^(9/8); delta is
held to that. Relaxed: the mechanism's analysis is not tight, and no radius exceeds 0.5705 sigma. Sound for any base
classifier, l2, with confidence 1 - alpha; a search in one variable per input.

Mathias Lecuyer et al.: Certified Robustness to Adversarial Examples with Differential Privacy, IEEE S&P 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .maximize import maximize
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats

LARGEST_DELTA: Final = 1.25 * math.exp(-9 / 8)


@final
class PixelDP(CountCertifier):
    """The best radius over the privacy parameter e, for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="pixel_dp",
        title="PixelDP, Gaussian noise",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="Differential privacy of the Gaussian mechanism bounds how far class probabilities can move.",
        paper="Lecuyer et al.: Certified Robustness to Adversarial Examples with Differential Privacy, IEEE S&P 2019",
        url="https://arxiv.org/abs/1802.03471",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        def radius(e: Floats) -> Floats:
            # no term exceeds p where delta > 0, so the difference errs by a few ulp of p, taken off here
            delta = np.minimum((p - np.exp(2 * e) * q - 8 * ULP * p) / (1 + np.exp(e)), LARGEST_DELTA)
            possible = delta > 0
            return np.where(possible, e / np.sqrt(2 * np.log(1.25 / np.where(possible, delta, 1.0))), -np.inf)

        with np.errstate(divide="ignore"):
            largest = np.minimum(1.0, np.log(p / q) / 2)
        value = noise.sigma * maximize(radius, np.zeros_like(p), largest)
        # quotient, logarithm (at least 9/8), root and products: half an ulp each, and 8/9 for the logarithm's argument
        return value, 4 * ULP * np.abs(value)
