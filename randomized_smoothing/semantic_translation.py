"""Li et al.'s certificate against translations.

`Translation` noise moves the image by whole numbers, normal ones rounded. Moving the image by whole pixels v before is
moving the normal numbers' mean, because round(z) + v = round(z + v): every class is that of a base classifier of two
normal numbers, shifted. So the exact certificate of Gaussian noise holds, with pixels for a unit:

    sqrt(down^2 + right^2) < sigma/2 (Phi^-1(p) - Phi^-1(q)).

Sound for any base classifier and translations by whole pixels that wrap around, with confidence 1 - alpha; a few flops
per input. It is no statement about norms of the difference of images, and is never compared with any.

Linyi Li et al.: TSS: Transformation-Specific Smoothing for Robustness Certification, CCS 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.method import MethodInfo

from .count_certifier import CountCertifier
from .neyman_pearson import half_distance_of_quantiles
from .noise import Noise, Translation

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class SemanticTranslation(CountCertifier):
    """sigma/2 (Phi^-1(p) - Phi^-1(q)) pixels, for translations by normal numbers, rounded."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="semantic_translation",
        title="Translation (Li et al., TSS)",
        kind="certifier",
        family="randomized smoothing",
        norms=("translation",),
        summary="Random translations by whole pixels certify all translations by fewer pixels, exactly.",
        paper="Li et al.: TSS: Transformation-Specific Smoothing for Robustness Certification, CCS 2021",
        url="https://arxiv.org/abs/2002.12398",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Translation,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Translation) -> tuple[Floats, Floats]:
        return half_distance_of_quantiles(p, tail, q, noise.sigma)
