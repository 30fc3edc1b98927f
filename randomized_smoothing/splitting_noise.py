"""Levine and Feizi's deterministic l1 certificate of splitting noise.

`Splitting` noise takes only `levels` different forms, and all of them are evaluated: the class counts are exact, and so
is the certificate. Moving one coordinate by one step of 1/steps changes its interval under exactly one form, so a
perturbation of l1 size r/steps changes what the base classifier sees under at most r of them, moving at most r counts
from A to any other class B. A stays on top, ties going to the lower class number, for

    ||d||_1 <= floor((n_A - n_B - [B < A]) / 2) / steps,

the least over B. It is no statement about samples: there is no alpha. What is counted on is that inputs, the perturbed
ones too, are multiples of 1/steps, as 8-bit images are. Sound for any base classifier, l1; free once the counts are
there, and these take `levels` evaluations instead of the 100,000 of sampling.

Alexander Levine, Soheil Feizi: Improved, Deterministic Smoothing for l1 Certified Robustness, ICML 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from sokbench.core.certifier import ABSTAIN, Certificate, Certifier
from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.method import MethodInfo

from .count_certifier import counts_of_both, probabilities
from .noise import Splitting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .count_certifier import Floats


@final
class SplittingNoise(Certifier):
    """floor((n_A - n_B) / 2) / steps from the counts of all forms of the noise, l1, deterministic."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="splitting_noise",
        title="Deterministic splitting noise (Levine and Feizi)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="All forms of a noise that splits the input range are evaluated; an exact l1 certificate.",
        paper="Levine, Feizi: Improved, Deterministic Smoothing for l1 Certified Robustness, ICML 2021",
        url="https://arxiv.org/abs/2103.10834",
        deterministic=True,
        uses_box=False,
    )

    def radius(self, p: ArrayLike, q: ArrayLike | None, noise: Any) -> Floats:
        """See `Certifier.radius`. p and q are the shares of the forms; a tie is taken to be lost."""
        _check(noise)
        p = probabilities("p", p)
        p, q = np.broadcast_arrays(p, 1.0 - p if q is None else probabilities("q", q))
        # forms that may change: fewer than half the lead, which rounding of the shares may overstate by 2^-51 levels
        lead = (p - q) * noise.levels * (1.0 - 2.0**-51)
        radius: Floats = np.maximum(np.ceil(lead / 2) - 1.0, 0.0) / noise.steps
        return radius

    def certify(
        self, selection_counts: NDArray[np.int64], counts: NDArray[np.int64], noise: Any, alpha: float
    ) -> Certificate:
        """The radius of the top class of `counts`; abstains on a tie, or if the selection, not needed, says otherwise.

        The counts are those of whole sweeps through the noise: their sum is a multiple of `noise.levels`. Raises
        `InvalidInput` where it is not. p and q are exact shares, and alpha plays no part.
        """
        _check(noise)
        selection, estimation = counts_of_both(selection_counts, counts)
        total = int(estimation.sum())
        if total % noise.levels:
            raise InvalidInput(f"{total} evaluations are no whole number of sweeps; take a multiple of {noise.levels}")
        top = int(estimation.argmax())  # the lower number of a tie
        others = np.delete(np.arange(len(estimation)), top)
        lead = int((estimation[top] - estimation[others] - (others < top)).min())
        p, q = float(estimation[top]) / total, float(estimation[others].max()) / total
        if top != int(selection.argmax()) or p <= q:
            return Certificate(ABSTAIN, 0.0, p, q)
        moved = lead // (2 * (total // noise.levels))
        # inputs on the grid are no further than this exactly if they are no further than its nearest float
        return Certificate(top, moved / noise.steps, p, q)


def _check(noise: Any) -> None:
    if not isinstance(noise, Splitting):
        raise Unsupported(f"splitting_noise certifies splitting noise, not {getattr(noise, 'kind', noise)!r}")
