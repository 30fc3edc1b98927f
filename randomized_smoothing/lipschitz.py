"""Salman et al.'s linear Lipschitz certificate for Gaussian noise.

Convolution with N(0, sigma^2 I) makes every class probability Lipschitz in the input, with constant
sqrt(2 / pi) / sigma in l2 (their lemma 1: the largest mean of a normal variable's sign). So P[A] falls and P[B] rises
by at most that per unit, and A stays ahead for

    ||d||_2 < sigma sqrt(pi / 2) (p - q) / 2.

Relaxed: the constant is attained at probability 1/2 only. Their lemma 2, that Phi^-1(P[A]) is 1/sigma-Lipschitz, mends
that and gives exactly `neyman_pearson`. Sound for any base classifier, also for one with soft outputs, l2, with
confidence 1 - alpha; a few flops per input.

Hadi Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, NeurIPS 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class Lipschitz(CountCertifier):
    """sigma sqrt(pi/2) (p - q) / 2 for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="lipschitz",
        title="Lipschitz smoothing (Salman et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="Class probabilities under Gaussian noise are Lipschitz, so a gap between them gives an l2 radius.",
        paper="Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, "
        "NeurIPS 2019",
        url="https://arxiv.org/abs/1906.04584",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        value = noise.sigma * math.sqrt(math.pi / 2) / 2 * (p - q)
        # roundings of pi/2, its root, the difference and two products, each half an ulp
        return value, 4 * ULP * value
