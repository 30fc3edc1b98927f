"""Dvijotham et al.'s certificate for Gaussian noise by hockey-stick divergences.

Of the shifted noise N(x + d) only the divergences

    e(b) = sup over sets S of P'[S] - b P[S] - [1 - b]_+ = Phi(t/2 - ln(b)/t) - b Phi(-t/2 - ln(b)/t) - [1 - b]_+

for a few factors b are used, with t = ||d||_2 / sigma. Of a class of probability at least p they leave at least
max(b p - e(b) for b <= 1, 1 - b (1 - p) - e(b) for b >= 1), of one of probability at most q at most
min(b q + e(b) for b >= 1, 1 - b (1 - q) + e(b) for b <= 1). The radius is the largest t at which the first is still
above the second, or above 1/2. Relaxed: the few factors; all factors together give exactly `neyman_pearson`, since
they determine the trade-off curve. b = 1 alone is total variation. (Dividing ln(b) by 2t, as some code does, makes e(b)
too small and radii too large.) Sound for any base classifier, l2, with confidence 1 - alpha; a bisection per input with
a few normal distribution functions per factor.

Krishnamurthy Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences,
ICLR 2020.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np
from scipy.special import ndtr

from sokbench.core.errors import InvalidInput
from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .count_certifier import Floats

FACTORS: Final = tuple(math.exp(k / 2) for k in range(-16, 17))
FURTHEST: Final = 80.0
"""Shifts beyond 2 * 39 standard deviations cannot be certified: no float p is that close to 1."""
HALVINGS: Final = 60


@final
class HockeyStick(CountCertifier):
    """The best shift that hockey-stick divergences with the given factors allow, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="hockey_stick",
        title="f-divergence, hockey-stick (Dvijotham et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="Several hockey-stick divergences of shifted Gaussian noise bound the classes; an l2 radius.",
        paper="Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences, "
        "ICLR 2020",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def __init__(self, factors: tuple[float, ...] = FACTORS) -> None:
        if not factors or not all(math.isfinite(b) and b > 0 for b in factors):
            raise InvalidInput(f"factors of hockey-stick divergences are finite numbers > 0, not {factors}")
        self.factors = tuple(factors)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        low, high = np.zeros(p.shape), np.full(p.shape, FURTHEST)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            ahead = self._ahead(p, tail, q, middle)
            low, high = np.where(ahead, middle, low), np.where(ahead, high, middle)
        # the bisection kept to the safe side; sigma times the shift is one rounding
        return noise.sigma * low, ULP * noise.sigma * low

    def _ahead(self, p: Floats, tail: Floats, q: Floats, t: Floats) -> NDArray[np.bool_]:
        """Whether A is ahead of every other class at all shifts of t standard deviations, rounded to the safe side.

        In terms of what A may have lost and B may have gained at most, which is accurate where p is close to 1.
        """
        factors = np.array(self.factors)[:, None]
        above, below = factors[factors[:, 0] >= 1.0], factors[factors[:, 0] <= 1.0]
        high, low = _divergence(t, above), _divergence(t, below)
        lost, gained = (
            np.minimum(
                (above * chance + high).min(axis=0, initial=1.0),
                ((1.0 - below) + below * chance + low).min(axis=0, initial=1.0),
            )
            for chance in (tail, q)
        )
        # P'[A] >= 1 - lost > min(1/2, gained) >= P'[B]; sums of up to three terms of at most 1 + b each, and those with
        # a term of more than 1 are not the least
        ahead: NDArray[np.bool_] = lost + np.minimum(gained, 0.5) < 1.0 - 8 * ULP
        return ahead


def _divergence(t: Floats, b: Floats) -> Floats:
    """e(b), rounded up, at shifts of t > 0 standard deviations (n,) for factors b (m, 1), all >= 1 or all <= 1: (m, n).

    The difference of two probabilities is taken between the smaller ones: where b <= 1,
    e(b) = b (1 - Phi(-t/2 - ln(b)/t)) - (1 - Phi(t/2 - ln(b)/t)).
    """
    sign = np.where(b >= 1.0, 1.0, -1.0)
    log = np.log(b)
    shifted, here = ndtr(sign * (t / 2 - log / t)), b * ndtr(sign * (-t / 2 - log / t))
    # ndtr is right to 4 ulp plus what the rounding of its argument, 3 ulp of (t/2 + |ln b|/t), moves it by: at most its
    # size times the density ratio there, which is below |argument| + 1
    argument = t / 2 + np.abs(log) / t
    error = 8 * ULP * np.maximum(shifted, here) * (2.0 + argument * (argument + 1.0))
    above: Floats = np.maximum(sign * (shifted - here), 0.0) + error
    return above
