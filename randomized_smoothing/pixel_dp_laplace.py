"""PixelDP's certificate for Laplace noise: pure differential privacy.

Laplace noise of scale b makes the prediction (r/b, 0)-differentially private against l1 changes of size r: every
event's probability changes by a factor of at most e^(r/b). With P[A] >= p and P[B] <= q, A stays ahead while
e^(-r/b) p > e^(r/b) q, that is for

    ||d||_1 < b/2 ln(p / q).

Relaxed: the factor e^(r/b) is used on both sides everywhere, although mass near 1 cannot change that much. Sound for
any base classifier, l1, with confidence 1 - alpha; a few flops per input.

Mathias Lecuyer et al.: Certified Robustness to Adversarial Examples with Differential Privacy, IEEE S&P 2019,
proposition 1 with delta = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Laplace, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class PixelDPLaplace(CountCertifier):
    """scale/2 ln(p/q) for Laplace noise, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="pixel_dp_laplace",
        title="PixelDP, Laplace noise",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="Differential privacy of the Laplace mechanism bounds how far class probabilities can move.",
        paper="Lecuyer et al.: Certified Robustness to Adversarial Examples with Differential Privacy, IEEE S&P 2019",
        url="https://arxiv.org/abs/1802.03471",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Laplace,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Laplace) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            value = noise.scale / 2 * np.log(p / q)
        # the quotient's rounding is an absolute error of the logarithm; logarithm and product add 2 ulp
        return value, 2 * ULP * (np.abs(value) + noise.scale)
