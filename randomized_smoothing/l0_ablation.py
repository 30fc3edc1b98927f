"""Levine and Feizi's l0 certificate of randomized ablation.

The base classifier sees `keep` of the `pixels`, chosen at random. Two images that differ in r pixels give the same
noisy copies unless a changed pixel is kept, which happens with chance

    Delta(r) = 1 - C(pixels - r, keep) / C(pixels, keep),

so P[A] falls and P[B] rises by at most that: the top class survives r changed pixels if p - q > 2 Delta(r), or
p > 1/2 + Delta(r) where q = 1 - p. The certificate is the largest such r; it is attained by a base classifier that
looks for the changed pixels. Delta is computed in rationals. A pixel is a position with all its channels, so the
certificate covers r changed coordinates, too. Sound for any base classifier, l0, with confidence 1 - alpha; the
thresholds cost O(r) once per noise.

Alexander Levine, Soheil Feizi: Robustness Certificates for Sparse Adversarial Attacks by Randomized Ablation, AAAI
2020.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import CountCertifier, whole
from .noise import Ablation, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class L0Ablation(CountCertifier):
    """The largest r with p - q > 2 (1 - C(pixels - r, keep) / C(pixels, keep)), l0."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="l0_ablation",
        title="Randomized ablation (Levine and Feizi)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l0",),
        summary="Few random pixels are shown, so few changed pixels are rarely among them; an l0 certificate.",
        paper="Levine, Feizi: Robustness Certificates for Sparse Adversarial Attacks by Randomized Ablation, AAAI 2020",
        url="https://arxiv.org/abs/1911.09272",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Ablation,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Ablation) -> tuple[Floats, Floats]:
        # the largest float that is no more than (p - q) / 2, which is exact up to the rounding of the difference
        half_gap = np.nextafter(p - q, -np.inf) / 2
        # entries 0 .. r of the table below half the gap: r pixels may change
        # (p - q is above 0 = Delta(0) even where rounding it down gives less)
        return whole(np.searchsorted(chances_of_a_hit(noise.keep, noise.pixels)[1:], half_gap, side="left"))


@cache
def chances_of_a_hit(keep: int, pixels: int) -> Floats:
    """Delta(0), Delta(1), ... up to the first above 1/2, each rounded up."""
    missed, table = Fraction(1), [0.0]
    for changed in range(pixels):
        missed *= Fraction(max(pixels - changed - keep, 0), pixels - changed)
        table.append(math.nextafter(float(1 - missed), math.inf))
        if table[-1] > 0.5:
            break
    return np.array(table)
