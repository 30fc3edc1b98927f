"""Salman et al.'s certificate for Gaussian noise from soft outputs.

The smoothed classifier is the mean of the softmax outputs, not of the votes. Their lemma 1 (Lipschitz with constant
sqrt(2/pi)/sigma) and lemma 2 (Phi^-1 of it is 1/sigma-Lipschitz) hold for any base function with values in [0, 1], so

    ||d||_2 < sigma sqrt(pi/2) (p - q) / 2    or    ||d||_2 < sigma/2 (Phi^-1(p) - Phi^-1(q)),

the second never smaller, with p a lower bound of the mean soft output of A and q = 1 - p. Values in [0, 1] are no
counts: p comes from their mean and variance by Maurer and Pontil's empirical Bernstein inequality,

    p = mean - sqrt(2 V ln(2/alpha) / n) - 7 ln(2/alpha) / (3 (n - 1)).

Float32 outputs need no allowance. What evaluated sample i, its rounding included, is itself a function h_i into [0, 1],
which may differ in last digits with the size of the batch, and depends on no other sample. The smoothed classifier
meant is the mean of these n functions; both lemmas hold for it, and so does the inequality, whose proof (their theorem
11) asks the outputs to be independent, not of one law. Only the sums over the samples are bounded for their rounding.

A classifier without soft outputs has outputs 0 and 1, whose mean and variance the counts give: that is used where no
statistics are there. Sound for the soft smoothed classifier, l2, with confidence 1 - alpha; a few flops per input.

Hadi Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, NeurIPS 2019, lemmas 1
and 2; Andreas Maurer, Massimiliano Pontil: Empirical Bernstein Bounds and Sample Variance Penalization, COLT 2009.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from sokbench.core.certifier import ABSTAIN, Certificate, Certifier
from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.method import MethodInfo

from .count_certifier import ULP, counts_of_both, probabilities, rounded_down
from .neyman_pearson import half_distance_of_quantiles
from .noise import Gaussian

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .count_certifier import Floats


@final
class LipschitzSoft(Certifier):
    """Lemma 1 or 2 of Salman et al. on mean soft outputs, with an empirical Bernstein bound, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="lipschitz_soft",
        title="Lipschitz smoothing of soft outputs (Salman et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The mean softmax output under Gaussian noise, bounded by Bernstein, cannot fall fast; an l2 radius.",
        paper="Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, "
        "NeurIPS 2019",
        url="https://arxiv.org/abs/1906.04584",
        deterministic=False,
        uses_box=False,
    )

    def __init__(self, lemma: int = 2) -> None:
        if lemma not in (1, 2):
            raise InvalidInput(f"Salman et al. have the lemmas 1 and 2, not {lemma!r}")
        self.lemma = lemma

    def radius(self, p: ArrayLike, q: ArrayLike | None, noise: Any) -> Floats:
        """See `Certifier.radius`; p and q are bounds of mean soft outputs."""
        if not isinstance(noise, Gaussian):
            raise Unsupported(f"lipschitz_soft certifies gaussian noise, not {getattr(noise, 'kind', noise)!r}")
        p = probabilities("p", p)
        p, q = np.broadcast_arrays(p, 1.0 - p if q is None else probabilities("q", q))
        certified = p > q
        radius = np.zeros(p.shape)
        above, below = p[certified], q[certified]
        if self.lemma == 1:
            value = noise.sigma * math.sqrt(math.pi / 2) / 2 * (above - below)
            error = 4 * ULP * value
        else:
            value, error = half_distance_of_quantiles(above, 1.0 - above, below, noise.sigma)
        radius[certified] = rounded_down(value, error)
        return radius

    def certify(
        self,
        selection_counts: NDArray[np.int64],
        counts: NDArray[np.int64],
        noise: Any,
        alpha: float,
        statistics: Mapping[str, float] | None = None,
    ) -> Certificate:
        """As `CountCertifier.certify`; statistics: `statistics.Moments.summary` of the class selected."""
        selection, estimation = counts_of_both(selection_counts, counts)
        prediction, total = int(selection.argmax()), int(estimation.sum())
        mean = square = int(estimation[prediction]) / total
        if statistics:
            mean, square = statistics["soft_mean"], statistics["soft_square"]
        p = bernstein_bound(mean, square, total, alpha)
        if not 0.5 < p <= 1.0:
            return Certificate(ABSTAIN, 0.0, max(p, 0.0), min(1.0 - p, 1.0))
        q = math.nextafter(1.0 - p, 1.0)
        return Certificate(prediction, float(self.radius(p, q, noise)), p, q)


def bernstein_bound(mean: float, square: float, n: int, alpha: float) -> float:
    """Lower bound of the mean expectation of n independent variables in [0, 1], from the means of their samples and of
    the squares of these, summed up in float64 in any order; wrong with a chance of at most alpha, -inf for n = 1."""
    if n < 2:
        return -math.inf
    # n - 1 additions of terms >= 0, a square and a division: each sum is within (n + 1) half ulps, relative to itself
    mean, square = mean * (1.0 - n * ULP), square * (1.0 + n * ULP)
    variance = max(square - mean * mean + 4 * ULP, 0.0) * n / (n - 1)
    log = math.log(2.0 / alpha)
    return (mean - math.sqrt(2.0 * variance * log / n) - 7.0 * log / (3.0 * (n - 1))) - 8 * ULP
