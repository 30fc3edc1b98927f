"""The l_inf certificate that Cohen et al.'s l2 certificate implies.

A perturbation of l_inf size r has an l2 size of at most r sqrt(d), so what `neyman_pearson` proves gives

    ||d||_inf < sigma/(2 sqrt(d)) (Phi^-1(p) - Phi^-1(q)).

For Gaussian noise, and up to constants for every noise of independent coordinates, no much larger l_inf radius can be
true (Yang et al. 2020; Kumar et al. 2020): this is the l_inf row of the field's tables. Neither counts nor noise know
d, so `dimension` must be the number of coordinates of the input or more; the default is that of a 3 x 224 x 224 image,
sound for all smaller ones and needlessly small for them. Sound for any base classifier, l_inf, with confidence
1 - alpha; a few flops per input.

Hadi Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, NeurIPS 2019; Greg
Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final, final

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .neyman_pearson import half_distance_of_quantiles
from .noise import Gaussian, Noise
from .noise_base import check_whole

if TYPE_CHECKING:
    from .count_certifier import Floats

IMAGENET: Final = 3 * 224 * 224


@final
class LinfFromL2(CountCertifier):
    """The exact l2 radius of Gaussian noise divided by sqrt(dimension), l_inf."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="linf_from_l2",
        title="l_inf from l2 (Gaussian smoothing)",
        kind="certifier",
        family="randomized smoothing",
        norms=("linf",),
        summary="The l2 radius of Gaussian smoothing, divided by the root of the number of coordinates.",
        paper="Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, "
        "NeurIPS 2019",
        url="https://arxiv.org/abs/1906.04584",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def __init__(self, dimension: int = IMAGENET) -> None:
        check_whole("dimension of the input", dimension, 1)
        self.dimension = dimension

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        value, error = half_distance_of_quantiles(p, tail, q, noise.sigma)
        root = math.sqrt(self.dimension)
        # the root and the quotient, half an ulp each, of the value
        return value / root, (error + 2 * ULP * abs(value)) / root
