"""Cohen et al.'s two-sided certificate for Gaussian noise, with a bound of its own for every class.

The same exact closed form as `neyman_pearson`,

    ||d||_2 < sigma/2 (Phi^-1(p) - Phi^-1(q)),

but q is not 1 - p: every class is bounded by itself, at alpha / classes each (Bonferroni), and q is the bound of the
largest other class. With many classes that share what A leaves, q is far below 1 - p, and inputs with p < 1/2 can be
certified at all; with one strong rival the correction costs a little. The rival may be picked from the same counts only
because all classes are bounded. Sound for any measurable base classifier, l2, with confidence 1 - alpha.

Jeremy Cohen, Elan Rosenfeld, Zico Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019,
theorem 1 (their algorithm CERTIFY is the one-sided case).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.method import MethodInfo

from .confidence import top_and_others
from .count_certifier import CountCertifier
from .neyman_pearson import half_distance_of_quantiles
from .noise import Gaussian, Noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .count_certifier import Floats


@final
class NeymanPearsonClasswise(CountCertifier):
    """sigma/2 (Phi^-1(p) - Phi^-1(q)) with Bonferroni bounds over the classes, l2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neyman_pearson_classwise",
        title="Neyman-Pearson, every class bounded (Cohen et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="The exact two-sided l2 radius for Gaussian noise, with a confidence bound for every class.",
        paper="Cohen, Rosenfeld, Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019",
        url="https://arxiv.org/abs/1902.02918",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Gaussian,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Gaussian) -> tuple[Floats, Floats]:
        return half_distance_of_quantiles(p, tail, q, noise.sigma)

    def bounds(self, counts: NDArray[np.int64], top: int, alpha: float) -> tuple[Floats, Floats, Floats]:
        return top_and_others(counts, top, alpha)
