"""Li et al.'s certificate for Laplace noise by Renyi divergences.

The Renyi divergence of order a of Laplace noise of scale b, shifted by t b along a coordinate, is

    D_a(t) = ln(a / (2a - 1) e^((a - 1) t) + (a - 1) / (2a - 1) e^(-a t)) / (a - 1).

Over several coordinates divergences add up, and D_a is convex with D_a(0) = 0, so of all shifts with ||d||_1 = t b the
one along a coordinate has the largest. The least divergence that lets B catch up with A is as in `renyi`. So for every
order a > 1, A stays ahead for ||d||_1 < b t with D_a(t) = -ln(1 - p - q + 2 M_{1-a}(p, q)), and the largest is taken;
as a grows it approaches -b ln(1 - p + q), one half of `teng`. Relaxed: one number, the divergence, stands for the
shifted noise. Sound for any base classifier, l1, with confidence 1 - alpha; a bisection inside a search per input.

Bai Li, Changyou Chen, Wenlin Wang, Lawrence Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .maximize import maximizer
from .noise import Laplace, Noise
from .renyi import LOG_ORDERS, least_divergence

if TYPE_CHECKING:
    from .count_certifier import Floats

NEWTON_STEPS: Final = 8
"""Steps of the search for the best order."""
HALVINGS: Final = 60
"""Bisection steps: the bracket is then below the last bit of its upper end."""


@final
class RenyiLaplace(CountCertifier):
    """The best radius over the order of the Renyi divergence, for Laplace noise, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="renyi_laplace",
        title="Renyi divergence, Laplace noise (Li et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="The least Renyi divergence, of the best order, with which B catches up with A gives an l1 radius.",
        paper="Li, Chen, Wang, Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019",
        url="https://arxiv.org/abs/1809.03113",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Laplace,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Laplace) -> tuple[Floats, Floats]:
        def shift(log_order: Floats) -> Floats:
            excess = np.exp(log_order)
            return _shift_nearly(least_divergence(p, tail, q, excess), excess)

        low, high = (np.full(p.shape, end) for end in LOG_ORDERS)
        # any order is sound, so the best one need not be found with care; what it certifies is
        excess = np.exp(maximizer(shift, low, high))
        value = noise.scale * _shift_of(least_divergence(p, tail, q, excess[None])[0], excess)
        return value, ULP * value


def _shift_nearly(divergence: Floats, excess: Floats) -> Floats:
    """About the largest t with D_{1 + excess}(t) <= divergence: Newton's method from above, where it cannot overshoot,
    because D is convex and rises."""
    order, finite = 1.0 + excess, np.isfinite(divergence)
    divergence = np.where(finite, divergence, 1.0)
    t = divergence + 1.0
    for _ in range(NEWTON_STEPS):
        # the two terms inside the logarithm, by the larger one
        ratio = excess / order * np.exp(-(order + excess) * t)
        slope = (1.0 - ratio * order / excess) / (1.0 + ratio)
        t = np.where(slope > 0.0, t - (_divergence(t, excess) - divergence) / np.where(slope > 0.0, slope, 1.0), t)
    return np.where(finite, t, np.inf)


def _shift_of(divergence: Floats, excess: Floats) -> Floats:
    """Largest t, rounded down, with D_{1 + excess}(t) <= divergence; infinite where the divergence is."""
    finite = np.isfinite(divergence)
    # t >= D_a(t) >= t - ln((2a - 1) / a) / (a - 1) >= t - 1, so the answer lies below divergence + 1
    low, high = np.zeros(divergence.shape), np.where(finite, divergence, 0.0) + 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # `_divergence` errs by less than 16 ulp of t
        inside = _divergence(middle, excess) + 16 * ULP * middle <= divergence
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(finite, low, np.inf)


def _divergence(t: Floats, excess: Floats) -> Floats:
    """D_a(t) with a = 1 + excess, for t >= 0, without cancellation for small and overflow for large arguments."""
    order = 1.0 + excess
    rise, fall = order / (order + excess), excess / (order + excess)
    power = excess * t
    near = np.log1p(rise * np.expm1(np.minimum(power, 1.0)) + fall * np.expm1(-order * t))
    far = np.logaddexp(np.log(rise) + power, np.log(fall) - order * t)
    return np.where(power < 1.0, near, far) / excess
