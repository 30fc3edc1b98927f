"""The exact l1 certificate of uniform noise.

Noise uniform on the cube [-w, w]^d: moving the input by d moves the cube, and the two cubes share all but a fraction
1 - prod_i (1 - |d_i| / 2w) <= ||d||_1 / 2w of their volume. So P[A] falls and P[B] rises by at most that, and A stays
ahead for

    ||d||_1 < w (p - q),        2w (p - 1/2) where q = 1 - p.

Attained by classes that fill the two slices at opposite faces of the cube, so nothing is relaxed. Sound for any base
classifier, l1, with confidence 1 - alpha; a few flops per input.

Greg Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.method import MethodInfo

from .count_certifier import ULP, CountCertifier
from .noise import Noise, Uniform

if TYPE_CHECKING:
    from .count_certifier import Floats


@final
class NeymanPearsonUniform(CountCertifier):
    """half_width (p - q) for uniform noise, l1."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neyman_pearson_uniform",
        title="Neyman-Pearson, uniform noise",
        kind="certifier",
        family="randomized smoothing",
        norms=("l1",),
        summary="The largest l1 radius that the class probabilities under uniform noise imply, exact.",
        paper="Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020",
        url="https://arxiv.org/abs/2002.08118",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Uniform,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Uniform) -> tuple[Floats, Floats]:
        # two roundings, of the difference and of the product
        value = noise.half_width * (p - q)
        return value, 2 * ULP * value
