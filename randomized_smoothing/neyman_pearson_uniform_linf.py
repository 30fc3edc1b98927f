"""The exact l_inf certificate of uniform noise.

Noise uniform on the cube [-w, w]^d: moving the input by d with ||d||_inf <= r moves the cube, and the two cubes share
at least (1 - r / 2w)^dimension of their volume. So P[A] falls and P[B] rises by at most the rest, and A stays ahead for

    ||d||_inf < 2w (1 - (1 - (p - q) / 2)^(1 / dimension)),        2w (1 - (3/2 - p)^(1 / dimension)) where q = 1 - p.

Attained by classes that fill what the cubes do not share. Neither counts nor noise know the dimension: it must be the
number of coordinates of the input or more; the default is that of a 3 x 224 x 224 image, sound for all smaller ones and
needlessly small for them. Sound for any base classifier, l_inf, with confidence 1 - alpha; a few flops per input.

Greg Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .linf_from_l2 import IMAGENET
from .noise import Noise, Uniform
from .noise_base import check_whole

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class NeymanPearsonUniformLinf(CountCertifier):
    """2 half_width (1 - (1 - (p - q) / 2)^(1 / dimension)) for uniform noise, l_inf."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neyman_pearson_uniform_linf",
        title="Neyman-Pearson, uniform noise, l_inf",
        kind="certifier",
        family="randomized smoothing",
        norms=("linf",),
        summary="The largest l_inf radius that the class probabilities under uniform noise imply, exact.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Uniform,)

    def __init__(self, dimension: int = IMAGENET) -> None:
        check_whole("dimension of the input", dimension, 1)
        self.dimension = dimension

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Uniform) -> tuple[Floats, Floats]:
        value = -2.0 * noise.half_width * np.expm1(np.log1p(-(p - q) / 2.0) / self.dimension)
        # the difference errs by half an ulp, which the logarithm at most doubles (its argument is at least 1/2); 2 ulp
        # for either function (expm1 of a negative number passes errors on no larger), half for quotient and product
        return value, 8 * ULP * value
