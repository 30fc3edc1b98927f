"""The exact l1 certificate of Laplace noise, two-sided.

What is known: P[A] >= p, P[B] <= q under independent Laplace noise of scale b. Moving the input by d changes P[A] at a
rate of at most min(P[A], 1 - P[A]) / b per unit of ||d||_1: along a coordinate the derivative of the density is the
density times sign(z_i) / b, so the worst A of probability p lies in one half-space z_i > 0 as far as it fits; and a
rate that is linear in the direction is worst at a vertex of the l1 ball, that is along a coordinate. Integrated, with
F^-1 the quantile function of the noise (b ln 2p up to 1/2, -b ln 2(1 - p) above),

    P'[A] >= F(F^-1(p) - ||d||_1),    P'[B] <= F(F^-1(q) + ||d||_1),    so A stays ahead of B for
    ||d||_1 < (F^-1(p) - F^-1(q)) / 2,

which half-spaces z_1 <= F^-1(p) and z_1 >= -F^-1(q) attain: nothing is relaxed. One-sided (q = 1 - p) this is Teng et
al.'s -b ln 2(1 - p); their two-sided formula is smaller wherever q < 1 - p (see `teng`). Sound for any base classifier,
l1, with confidence 1 - alpha; a few flops per input. The rate argument
is the differential method of Yang et al., Randomized Smoothing of All Shapes and Sizes, ICML 2020.
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
class NeymanPearsonLaplace(CountCertifier):
    """Half the distance of two Laplace quantiles, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neyman_pearson_laplace",
        title="Neyman-Pearson, Laplace noise",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="The largest l1 radius that the class probabilities under Laplace noise imply, exact and two-sided.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020 (one-sided)",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
        tighter_than=("teng", "renyi_laplace", "pixel_dp_laplace"),
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Laplace,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Laplace) -> tuple[Floats, Floats]:
        return half_distance_of_laplace_quantiles(p, tail, q, noise.scale)


def half_distance_of_laplace_quantiles(p: Floats, tail: Floats, q: Floats, scale: float) -> tuple[Floats, Floats]:
    """((F^-1(p) - F^-1(q)) / 2, a bound of its error), as `CountCertifier.closed_form` wants it."""
    top, other = _quantile(p, tail), _quantile(q, 1.0 - q)
    # the logarithm is right to 1 ulp, the factor 2 is exact; sum and product add 2 ulp, and 1 - q half of one,
    # which the logarithm passes on as an absolute error
    return scale / 2 * (top - other), 4 * ULP * (scale / 2 * (np.abs(top) + np.abs(other) + 1.0))


def _quantile(p: Floats, tail: Floats) -> Floats:
    """Quantile of the Laplace distribution of scale 1; `tail` is 1 - p."""
    with np.errstate(divide="ignore"):
        return np.where(p <= 0.5, np.log(2.0 * p), -np.log(2.0 * tail))
