"""Yang et al.'s l_inf certificate for l_inf exponential noise.

The density of the noise is proportional to exp(-||z||_inf / scale), so moving the input by d changes it by a factor of
at most exp(||d||_inf / scale): a set of probability u loses at a rate of at most min(u, 1 - u) / scale, attained for
d with all coordinates equal in size by the half of the noises whose largest coordinate has the sign of d's. Integrated
as in `differential`, A stays ahead for

    ||d||_inf < scale/2 (G(p) - G(q)),    G(u) = ln(2u) up to 1/2, -ln(2 (1 - u)) above,

or -scale ln(2 (1 - p)) where q = 1 - p. Nothing in it depends on the dimension, but the noise does: ||z||_inf is about
dimension * scale. Relaxed: the worst set may be another one after every step. Sound for any base classifier, l_inf,
with confidence 1 - alpha; a few flops per input.

Greg Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.method import MethodInfo

from .count_certifier import CountCertifier
from .neyman_pearson_laplace import half_distance_of_laplace_quantiles
from .noise import LinfExponential, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class DifferentialLinf(CountCertifier):
    """Half the distance of two logarithmic quantiles, for l_inf exponential noise, l_inf."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="differential_linf",
        title="Differential method, l_inf (Yang et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("linf",),
        summary="The largest rate of change of class probabilities under l_inf exponential noise, integrated.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (LinfExponential,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: LinfExponential) -> tuple[Floats, Floats]:
        return half_distance_of_laplace_quantiles(p, tail, q, noise.scale)
