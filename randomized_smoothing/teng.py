"""Teng et al.'s two-sided l1 certificate of Laplace noise.

The larger of two sound radii, each from bounding one side of the likelihood ratio of shifted Laplace noise of scale b:

    b/2 ln(p / q)    and    -b ln(1 - p + q).

The exact answer to what p and q imply is larger unless q = 1 - p (`neyman_pearson_laplace`: 1 - p + q >= 2 sqrt((1 - p)
q), the inequality of the means); this one is kept because published tables use it. Sound for any base classifier, l1,
with confidence 1 - alpha; a few flops per input.

Jiaye Teng, Guang-He Lee, Yang Yuan: l1 Adversarial Robustness Certificates: a Randomized Smoothing Approach, 2020; SoK
section IV-E.
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
class Teng(CountCertifier):
    """max(scale/2 ln(p/q), -scale ln(1 - p + q)) for Laplace noise, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="teng",
        title="Laplace smoothing (Teng et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="Two bounds on the likelihood ratio of shifted Laplace noise, the better of which gives an l1 radius.",
        paper="Teng, Lee, Yuan: l1 Adversarial Robustness Certificates: a Randomized Smoothing Approach, 2020",
        url="https://openreview.net/forum?id=H1lQIgrFDS",
        deterministic=False,
        uses_box=False,
        tighter_than=("pixel_dp_laplace",),
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Laplace,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Laplace) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            ratio, total = np.log(p / q) / 2, -np.log(tail + q)
        value = noise.scale * np.maximum(ratio, total)
        # the argument's rounding, at most 1 ulp, is an absolute error of the logarithm; logarithm and product add 2 ulp
        return value, 3 * ULP * (np.abs(value) + noise.scale)
