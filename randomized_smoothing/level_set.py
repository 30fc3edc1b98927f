"""Yang et al.'s level-set method: the exact l2 certificate of noise exp(-||z||_2 / scale).

By Neyman and Pearson, of all sets of probability p the one that loses most when the input moves by v holds the points
whose likelihood grows least, w with ||w|| - ||w - v|| <= c: the inside of one branch of a hyperboloid. With R = ||v||,
r = ||w|| (Gamma of shape d) or ||w - v||, and u the cosine of the angle to v, all in units of the scale,

    before the move   P[u <= (R^2 - c^2) / (2rR) + c/R],    after it   P[u <= c/R - (R^2 - c^2) / (2rR)],

where P[u <= t] = I_((1 + t)/2)((d - 1)/2, (d - 1)/2). The radius R is certified if 1 - p is at most the chance that is
left out before the move, for the c that keeps one half after it. Nothing is relaxed for q = 1 - p; a smaller q is not
used. Both chances are means over r of functions that rise with r; summed at the lower ends of strata of r they are
bounds from below, which is the safe side of both. They make a table over R, once per dimension, whatever the scale;
radii are rounded down to its grid, 1/40 of the deviation of a coordinate.

Sound for any base classifier, l2, with confidence 1 - alpha; seconds for the table, then a look-up per input.

Greg Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020 (level sets, theorem 4.1 and appendix).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np
from scipy.special import betainc, gammainc, gammaincinv

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import L2Exponential, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats

STRATA: Final = 1024
STEPS_PER_DEVIATION: Final = 40
DEVIATIONS: Final = 8
SLACK: Final = 1e-9
"""betainc and gammainc are right to some 2e-13, relative to their value (measured against 50 digits; tests); sums and
arguments add less."""


@final
class LevelSet(CountCertifier):
    """The largest radius of a table whose threshold 1 - p stays below, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="level_set",
        title="Level sets (Yang et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The exact worst set for rotation symmetric exponential noise, tabulated over the radius.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (L2Exponential,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: L2Exponential) -> tuple[Floats, Floats]:
        radii, thresholds = table(noise.dimension)
        # the thresholds fall: how many are not below 1 - p
        reached = np.searchsorted(-thresholds, -tail, side="right")
        value = noise.scale * np.concatenate([[0.0], radii])[reached]
        return value, ULP * value


@cache
def table(dimension: int) -> tuple[Floats, Floats]:
    """Radii in units of the scale, rising, and for each the largest 1 - p that certifies it, rounded down."""
    step = np.sqrt(dimension + 1.0) / STEPS_PER_DEVIATION
    radii = step * np.arange(1, DEVIATIONS * STEPS_PER_DEVIATION + 1)
    lengths, weights = _strata(dimension)
    half = (dimension - 1) / 2

    def below(cosine: Floats) -> Floats:
        """Lower bound of the mean over r of P[u <= cosine], cosine: (radii, strata)."""
        inside = np.clip((1.0 + cosine) / 2, 0.0, 1.0)
        mean: Floats = betainc(half, half, inside) @ weights * (1.0 - SLACK)
        return mean

    def along(c: Floats) -> Floats:
        with np.errstate(over="ignore"):  # at the lower end of the first stratum, which is 0
            cosine: Floats = (radii * radii - c * c)[:, None] / (2.0 * lengths * radii[:, None])
        return cosine

    def kept(c: Floats) -> Floats:
        """Probability of the set after the move, from below."""
        return below((c / radii)[:, None] - along(c))

    low, high = np.zeros(radii.shape), radii.copy()
    for _ in range(26):
        # at c = 0 less than one half is kept, and at c = R all of it; the end kept is the one that holds
        middle = (low + high) / 2
        enough = kept(middle) >= 0.5
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    thresholds = below(-along(high) - (high / radii)[:, None])
    # rounding must not make a larger radius easier
    return radii, np.minimum.accumulate(thresholds)


def _strata(dimension: int) -> tuple[Floats, Floats]:
    """(lower ends, probabilities) of strata of r: of equal probability, and ever finer ones towards both ends."""
    ends = np.logspace(-15, -np.log10(STRATA), 24)[:-1]
    chances = np.concatenate([[0.0], ends, np.arange(1, STRATA) / STRATA, 1.0 - ends[::-1]])
    lengths = gammaincinv(float(dimension), chances)
    inside = gammainc(float(dimension), lengths)
    # the first stratum starts at 0, where nothing is left out and nothing kept: a hair above, to divide by it
    lengths[0] = np.finfo(np.float64).tiny
    return lengths, np.maximum(np.diff(np.append(inside, 1.0)), 0.0)
