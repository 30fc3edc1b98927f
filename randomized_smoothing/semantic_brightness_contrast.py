"""Li et al.'s certificate against changes of brightness and contrast.

The attacker replaces x by exp(k0) (x + b0); the noise, drawn after, makes it exp(k + k0) (x + b0 + exp(-k0) b). Seen
from x, the pair of numbers that transforms it has the mean (k0, b0) instead of 0, and b has the deviation
exp(-k0) brightness. First the deviation: of a set that has probability p, at least

    p' = 2 Phi(-exp(k0) Phi^-1(1 - p/2)) for k0 > 0,    2 Phi(exp(k0) Phi^-1((1 + p)/2)) - 1 for k0 < 0

is left (Neyman and Pearson: the worst set is everything far from 0, or everything near). Then the mean: the exact
certificate of Gaussian noise, A stays ahead while sqrt((k0 / contrast)^2 + (exp(k0) b0 / brightness)^2) < Phi^-1(p').
The radius r stands for all changes with

    sqrt((k0 / contrast)^2 + (exp(k0) b0 / brightness)^2) < r:

in units of the two deviations, it is the largest r with r <= Phi^-1(p') at k0 = r contrast and at k0 = -r contrast, the
worst of those. Sound for any base classifier, with confidence 1 - alpha; a bisection per input. It is no statement
about norms of the difference of images, and is never compared with any.

Linyi Li et al.: TSS: Transformation-Specific Smoothing for Robustness Certification, CCS 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np
from scipy.special import ndtr, ndtri

from sokbench.core.method import MethodInfo

from .count_certifier import CountCertifier
from .noise import BrightnessContrast, Noise

if TYPE_CHECKING:
    from .count_certifier import Floats

HALVINGS: Final = 60
SLACK: Final = 1e-11
"""ndtr and ndtri are right to 4 ulp; one passes the other's error on times at most 1 + 39^2, relative to the result."""


@final
class SemanticBrightnessContrast(CountCertifier):
    """The largest ellipse of contrast and brightness changes, in units of their deviations."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="semantic_brightness_contrast",
        title="Brightness and contrast (Li et al., TSS)",
        kind="certifier",
        family="randomized smoothing",
        norms=("brightness_contrast",),
        summary="Random brightness and contrast certify all smaller changes of both together.",
        paper="Li et al.: TSS: Transformation-Specific Smoothing for Robustness Certification, CCS 2021",
        url="https://arxiv.org/abs/2002.12398",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (BrightnessContrast,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: BrightnessContrast) -> tuple[Floats, Floats]:
        # only p is used: 1 - p bounds every other class
        tail = np.maximum(tail, 1e-300)
        low, high = np.zeros(p.shape), np.full(p.shape, 40.0)
        for _ in range(HALVINGS):
            r = (low + high) / 2
            held = r <= np.minimum(_left(tail, r * noise.contrast), _left(tail, -r * noise.contrast))
            low, high = np.where(held, r, low), np.where(held, high, r)
        return low, np.zeros(p.shape)


def _left(tail: Floats, k: Floats) -> Floats:
    """Phi^-1(p') for 1 - p = tail at contrast k, rounded down; of one sign each."""
    grown = tail * (1.0 + SLACK)
    # p/2 of the probability lies beyond -z on either side; tail/2 beyond w
    z, w = ndtri(np.minimum((1.0 + grown) / 2, 1.0)), -ndtri(np.minimum(grown / 2, 0.5))
    with np.errstate(over="ignore"):
        lost = np.where(
            k > 0, 2.0 * ndtr(np.exp(k) * z * (1.0 + SLACK)) - 1.0, 2.0 * ndtr(-np.exp(k) * w * (1.0 - SLACK))
        )
    reached: Floats = -ndtri(np.minimum(lost * (1.0 + SLACK) + 2.0**-50, 1.0))
    return reached - SLACK * (1.0 + np.abs(np.where(np.isinf(reached), 0.0, reached)))
