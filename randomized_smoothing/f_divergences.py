"""Dvijotham et al.'s certificate for Gaussian noise by any f-divergence, the best of several.

For a divergence D_f the least that lets B catch up with A, given P[A] >= p, P[B] <= q and the rest r = 1 - p - q, is
that of moving both to one t and the rest to 1 - 2t: min over t of p f(t/p) + q f(t/q) + r f((1 - 2t)/r), convex in t.
Shifted Gaussian noise has a divergence that grows with e = ||d|| / sigma, so A stays ahead below the e at which it
reaches that minimum. Both have closed forms for

    Kullback-Leibler     e^2/2,                  -ln(1 - (sqrt p - sqrt q)^2)
    its reverse          e^2/2,                  p ln(2p / (p + q)) + q ln(2q / (p + q))
    chi squared          exp(e^2) - 1,           (p - q)^2/(p + q) / (4pq/(p + q) + r)
    its reverse          exp(e^2) - 1,           (sqrt(2 (p^2 + q^2)) + r)^2 - 1
    squared Hellinger    1 - exp(-e^2/8),        1 - sqrt(1 - (sqrt p - sqrt q)^2 / 2)
    total variation      2 Phi(e/2) - 1,         (p - q)/2.

Every one is sound, so the largest radius counts. The alpha-divergences of all orders are `renyi`, the hockey-stick
divergences `hockey_stick`. Sound for any base classifier, l2, with confidence 1 - alpha; a few flops per input.

Krishnamurthy Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences,
ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np
from scipy.special import ndtri

from sokbench.core.errors import UnknownName
from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .f_divergence import kullback_leibler
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats

    Shift = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]


def _reverse_kullback_leibler(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    total = p + q
    x = (p - q) / total
    # (1 + x) ln(1 + x) + (1 - x) ln(1 - x), which cancels to x^2 at first; 1 - x = 2 q / total has no cancellation
    with np.errstate(divide="ignore", invalid="ignore"):
        falling = np.where(q > 0.0, (1.0 - x) * np.where(x < 0.5, np.log1p(-x), np.log(2.0 * q / total)), 0.0)
    least = total / 2 * ((1.0 + x) * np.log1p(x) + falling - 16 * ULP * x)
    value = np.sqrt(2.0 * np.maximum(least, 0.0))
    return value, 4 * ULP * value


def _chi_squared(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    harmonic = 4.0 * p * (q / (p + q))
    rest = harmonic + (tail - q) + 8 * ULP * (harmonic + tail + q)
    with np.errstate(divide="ignore"):
        value = np.sqrt(np.log1p((p - q) * ((p - q) / (p + q)) / rest))
    return value, 12 * ULP * np.where(np.isinf(value), 0.0, value)


def _reverse_chi_squared(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    length = np.sqrt(2.0 * (p * p + q * q))
    value = np.sqrt(2.0 * np.log1p((p - q) * ((p - q) / (length + p + q))))
    return value, 12 * ULP * value


def _hellinger(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    gap = (p - q) / (np.sqrt(p) + np.sqrt(q))
    value = np.sqrt(-4.0 * np.log1p(-gap * gap / 2))
    return value, 24 * ULP * value


def _total_variation(p: Floats, tail: Floats, q: Floats) -> tuple[Floats, Floats]:
    value = 2.0 * ndtri(0.5 + (p - q) / 4)
    # the argument is at most 3/4, where the quantile's derivative is below 3.2
    return value, 8 * ULP * (1.0 + value)


DIVERGENCES: Final[Mapping[str, Shift]] = {
    "kullback_leibler": kullback_leibler,
    "reverse_kullback_leibler": _reverse_kullback_leibler,
    "chi_squared": _chi_squared,
    "reverse_chi_squared": _reverse_chi_squared,
    "hellinger": _hellinger,
    "total_variation": _total_variation,
}
"""By name: (p, tail, q) to (least e at which B may catch up, bound of its rounding error)."""


@final
class FDivergences(CountCertifier):
    """The largest of the radii of several f-divergences for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="f_divergences",
        title="f-divergences, best of six (Dvijotham et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The least divergence that lets the second class catch up, for six divergences; the best l2 radius.",
        paper="Dvijotham et al.: A Framework for Robustness Certification of Smoothed Classifiers using f-Divergences, "
        "ICLR 2020",
        deterministic=False,
        uses_box=False,
        tighter_than=("f_divergence",),
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def __init__(self, divergences: tuple[str, ...] = tuple(DIVERGENCES)) -> None:
        for name in divergences:
            if name not in DIVERGENCES:
                raise UnknownName("divergence", name, DIVERGENCES)
        self.divergences = tuple(divergences)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        best = np.zeros(p.shape)
        for name in self.divergences:
            value, error = DIVERGENCES[name](p, tail, q)
            best = np.maximum(best, np.where(np.isinf(value), value, value - error))
        value = noise.sigma * best
        return value, ULP * np.where(np.isinf(value), 0.0, value)
