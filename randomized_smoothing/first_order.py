"""Levine et al.'s and Mohapatra et al.'s certificate for Gaussian noise: P[A], and how fast it can change.

Beside P[A] >= p, samples tell how long the gradient of P[A] is: sigma^2 times it is the mean of the noise on A,
m = E[z; f(x + z) = A]. Among all classes with P[A] >= p and |m| <= sigma C, the worst for a shift along z_1 by R (in
units of sigma) is a slab a < z_1 < b with

    Phi(b) - Phi(a) = p,    phi(b) - phi(a) = C,    of which    Phi(b - R) - Phi(a - R)    is left,

because e^(R z - R^2/2) lies below a line with two coefficients >= 0 exactly on such a slab (weak duality). The radius
is the largest R that leaves one half. C = phi(Phi^-1(p)) is the half-space and gives Cohen et al.'s radius; C = 0, as
at the centre of a region, gives the most. Without statistics, C is that of the half-space.

C comes from two independent halves u, v of the samples: u.v estimates |m|^2 without bias. For a fixed unit vector w the
variable 1_A (w.z) has, with M = e^(s^2/2), a centred moment generating function of at most exp(s^2/2 + (M - 1)^2/M) at
s/sigma (its logarithm is below that of the tangent of ln at M, which the best A makes s^2/2 plus the mean of
(y - (e^y - 1)/M)_+, y normal of deviation s, and that is not above (M - 1)(1 - 1/M)). So means of k samples miss by
more than t(k, level) sigma with at most the chance `level`, on either side: conditionally on u for u.v around u.m, and
for u.m around |m|^2. The radius holds with confidence 1 - alpha: half of alpha for p, a quarter for each of the two.

Sound for any base classifier, l2. One matrix product per batch while sampling, two bisections per input.

Alexander Levine et al.: Tight Second-Order Certificates for Randomized Smoothing, 2020; Jeet Mohapatra et al.:
Higher-Order Certification for Randomized Smoothing, NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import numpy as np
from scipy.special import ndtr, ndtri

from sokbench.core.certifier import ABSTAIN, Certificate, Certifier
from sokbench.core.errors import Unsupported
from sokbench.core.method import MethodInfo

from .count_certifier import counts_of_both, one_against_the_rest, probabilities, rounded_down
from .neyman_pearson import half_distance_of_quantiles
from .noise import Gaussian

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .count_certifier import Floats

SLACK: Final = 1e-11
"""ndtr and ndtri are right to 4 ulp, and phi and Phi at arguments below 39 pass these on times 1 + 39^2: below 2e-12,
relative to the probabilities and densities in hand. They are taken off five times over."""
HALVINGS: Final = 70
FURTHEST: Final = 80.0


@final
class FirstOrder(Certifier):
    """The largest shift that a slab with P[A] = p and a gradient of length C survives, for Gaussian noise, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="first_order",
        title="First-order information (Levine et al., Mohapatra et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The class probability and the length of its gradient, both from the same samples, give an l2 radius.",
        paper="Levine et al.: Tight Second-Order Certificates for Randomized Smoothing, 2020; Mohapatra et al.: "
        "Higher-Order Certification for Randomized Smoothing, NeurIPS 2020",
        url="https://arxiv.org/abs/2010.10549",
        deterministic=False,
        uses_box=False,
    )

    def radius(self, p: ArrayLike, q: ArrayLike | None, noise: Any, gradient: ArrayLike | None = None) -> Floats:
        """See `Certifier.radius`. gradient: upper bound of sigma times the length of P[A]'s gradient, C above; None is
        the half-space's. A q below 1 - p helps the half-space only, and the larger radius counts."""
        p = probabilities("p", p)
        tail = 1.0 - p
        return _radius(p, tail, tail if q is None else probabilities("q", q), noise, gradient)

    def certify(
        self,
        selection_counts: NDArray[np.int64],
        counts: NDArray[np.int64],
        noise: Any,
        alpha: float,
        statistics: Mapping[str, float] | None = None,
    ) -> Certificate:
        """As `CountCertifier.certify`; statistics: as `statistics.Moments.summary` gives them."""
        selection, estimation = counts_of_both(selection_counts, counts)
        prediction = int(selection.argmax())
        hits, total = int(estimation[prediction]), int(estimation.sum())
        level = alpha / 2 if statistics else alpha
        p, tail = one_against_the_rest(hits, total, level)
        if p <= tail:
            return Certificate(ABSTAIN, 0.0, float(p), float(tail))
        gradient = gradient_bound(statistics, noise.sigma, alpha / 2) if statistics else None
        return Certificate(prediction, float(_radius(p, tail, tail, noise, gradient)), float(p), float(tail))


def deviation(samples: int, level: float) -> float:
    """t(samples, level) of the module's docstring, in units of sigma."""
    if samples < 1:
        return math.inf
    needed = -math.log(level) / samples
    s = math.sqrt(2 * needed)
    grown = math.expm1(min(needed, 700.0))  # M - 1, as s^2 / 2 = needed
    return (2 * needed + grown * grown / (1.0 + grown)) / s


def gradient_bound(statistics: Mapping[str, float], sigma: float, alpha: float) -> float:
    """Upper bound of |m| / sigma with confidence 1 - alpha."""
    first, second = (math.sqrt(max(statistics[half], 0.0)) / sigma for half in ("first", "second"))
    # inputs and noise are rounded to float32 when they are added: by 2^-24 of at most |x| + 7 sigma per coordinate
    rounding = math.sqrt(statistics["dimension"]) * 2.0**-23 * (statistics["reach"] + 8.0 * sigma) / sigma
    product = statistics["product"] / sigma**2 + rounding * (first + second + rounding)
    within, across = (deviation(int(statistics[half]), alpha / 2) for half in ("even", "odd"))
    right = max(product + across * (first + rounding), 0.0)
    # |m|^2 - t |m| <= right
    return (within + math.sqrt(within * within + 4 * right)) / 2 * (1.0 + SLACK)


def _radius(p: Floats, tail: Floats, q: Floats, noise: Any, gradient: ArrayLike | None) -> Floats:
    if not isinstance(noise, Gaussian):
        raise Unsupported(f"first_order certifies gaussian noise, not {getattr(noise, 'kind', noise)!r}")
    limit = np.asarray(np.inf if gradient is None else gradient, dtype=np.float64)
    p, tail, q, limit = np.broadcast_arrays(p, tail, q, limit)
    certified = p > q
    radius = np.zeros(p.shape)
    value, error = half_distance_of_quantiles(p[certified], tail[certified], q[certified], noise.sigma)
    shift = np.where(tail[certified] < 0.5, _slab_shift(tail[certified], limit[certified]), 0.0)
    radius[certified] = np.maximum(rounded_down(value, error), np.nextafter(noise.sigma * shift, -np.inf))
    return radius


def _slab_shift(tail: Floats, gradient: Floats) -> Floats:
    """How far, in units of sigma, the slab may be shifted; 0 where the gradient's bound does not help."""
    tail = np.clip(tail * (1.0 + SLACK), 1e-300, 0.5)
    below, above = np.zeros(tail.shape), tail / 2  # of Phi(a): the half-space, and the slab around 0
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        a, b = ndtri(middle), -ndtri(tail - middle)
        steep = _density(b) * (1.0 - SLACK) - _density(a) * (1.0 + SLACK) >= gradient
        # kept on the side of the larger gradient, which leaves less
        below, above = np.where(steep, middle, below), np.where(steep, above, middle)
    helped = below > 0.0
    a, b = ndtri(np.where(helped, below, tail / 2)), -ndtri(tail - np.where(helped, below, tail / 2))
    low, high = np.zeros(tail.shape), np.full(tail.shape, FURTHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        left = ndtr(middle - b) + ndtr(a - middle) <= 0.5 - SLACK
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return np.where(helped, low, 0.0)


def _density(x: Floats) -> Floats:
    density: Floats = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return density
