"""Splitting noise: random intervals instead of random shifts, few enough to try them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from sokbench.core.errors import InvalidInput

from .noise_base import Noise, check_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor

TEMPLATE_SEED: Final = 0
"""Seed of the fixed offsets between coordinates. Another one is another smoothed classifier."""


@dataclass(frozen=True)
class Splitting(Noise):
    """Every coordinate is replaced by the middle of an interval of length levels / steps that it lies in.

    The intervals of coordinate i start at (s + t_i + 1/2) / steps, up to multiples of their length, and are cut to
    [0, 1]: t_i is a fixed offset, s runs through 0, ..., levels - 1. Inputs are multiples of 1/steps (255 for 8-bit
    images), so no start hits one, and moving a coordinate by 1/steps changes its interval for exactly one s. Sample
    number i of a stream has s = i mod levels: `levels` samples are all there is.

    Alexander Levine, Soheil Feizi: Improved, Deterministic Smoothing for l1 Certified Robustness, ICML 2021.
    """

    kind: ClassVar[str] = "splitting"
    additive: ClassVar[bool] = False
    levels: int
    steps: int

    def __post_init__(self) -> None:
        check_whole("number of levels of the splitting noise", self.levels, 2)
        check_whole("number of steps of the splitting noise", self.steps, 1)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        self._split_(out, x, torch.randint(self.levels, (len(out),), generator=generator))

    def draw_(self, out: Tensor, x: Tensor, generator: Generator, first: int) -> None:
        import torch

        self._split_(out, x, torch.arange(first, first + len(out)) % self.levels)

    def _split_(self, out: Tensor, x: Tensor, shift: Tensor) -> None:
        import torch

        level = (x * self.steps).round()
        if not torch.allclose(level / self.steps, x, rtol=0.0, atol=1e-3 / self.steps):
            raise InvalidInput(f"splitting noise is for inputs that are multiples of 1/{self.steps}")
        template = torch.Generator().manual_seed(TEMPLATE_SEED)
        offset = torch.randint(self.levels, x.shape, generator=template)
        start = (offset + shift.view(-1, *[1] * x.dim())) % self.levels
        # the largest start + 1/2 + k * levels below the level, in whole numbers
        low = start + torch.div(level.long() - 1 - start, self.levels, rounding_mode="floor") * self.levels
        # intervals [low + 1/2, low + levels + 1/2], cut to [0, steps]
        ends = (low + 0.5).clamp_min(0.0) + (low + self.levels + 0.5).clamp_max(float(self.steps))
        out.copy_(ends / (2 * self.steps))
