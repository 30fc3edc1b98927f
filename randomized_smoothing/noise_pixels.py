"""Noises that hide or replace coordinates instead of moving them: for perturbations of few coordinates (l0)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput

from .noise_base import LARGEST_INPUT, Noise, check_positive, check_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Replacement(Noise):
    """Every coordinate keeps its value with chance `keep`, and otherwise takes one of the other values at random.

    Values are the `levels` multiples of 1 / (levels - 1) from 0 to 1, and the input must consist of them: 256 for 8-bit
    images, 2 for black and white. Lee et al., Tight Certificates of Adversarial Robustness, NeurIPS 2019.
    """

    kind: ClassVar[str] = "replacement"
    additive: ClassVar[bool] = False
    keep: float
    levels: int

    def __post_init__(self) -> None:
        check_positive("keep of the replacement noise", self.keep)
        check_whole("number of levels of the replacement noise", self.levels, 2)
        if not 1.0 / self.levels < self.keep < 1.0:
            raise InvalidInput(f"keep must lie between 1/levels (all values as likely) and 1, not {self.keep}")

    @property
    def sampling_error(self) -> float:
        # each of the `levels` borders in [0, 1] of 53 random bits errs by less than 2^-52; coordinates add up
        return LARGEST_INPUT * self.levels * 2.0**-52

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        top = self.levels - 1
        level = (x * top).round()
        whole = torch.allclose(level / top, x, rtol=0.0, atol=1e-3 / top)
        if not whole or bool((level < 0).any() | (level > top).any()) or x.numel() > LARGEST_INPUT:
            raise InvalidInput(
                f"replacement noise is for at most {LARGEST_INPUT} coordinates in [0, 1] that are multiples of 1/{top}"
            )
        # one random number tells whether the value stays and, if not, which of the others it becomes
        uniform = torch.empty(out.shape, dtype=torch.float64).uniform_(generator=generator)
        other = uniform.sub_(self.keep).mul_(top / (1.0 - self.keep)).floor_().clamp_(-1.0, top - 1.0)
        out.copy_(other.add_(1.0).clamp_min_(0.0)).add_(level).remainder_(self.levels).div_(top)


@dataclass(frozen=True)
class Ablation(Noise):
    """Exactly `keep` of the `pixels` of an image, chosen at random, stay; all others are set to `fill`.

    A pixel is a position (all channels at once); the input has the shape (channels, height, width), or (pixels,).
    Levine and Feizi, Robustness Certificates for Sparse Adversarial Attacks by Randomized Ablation, AAAI 2020, mark
    missing pixels in extra channels; a network can do that itself if `fill` is no value that pixels take.
    """

    kind: ClassVar[str] = "ablation"
    additive: ClassVar[bool] = False
    keep: int
    pixels: int
    fill: float

    def __post_init__(self) -> None:
        check_whole("number of kept pixels", self.keep, 1)
        check_whole("number of pixels", self.pixels, self.keep)
        if not isinstance(self.fill, (int, float)) or not math.isfinite(self.fill):
            raise InvalidInput(f"the fill of ablated pixels must be a finite number, not {self.fill!r}")

    @property
    def sampling_error(self) -> float:
        # two of the random numbers of 53 bits are equal with a chance of at most pixels^2 / 2 * 2^-53
        return self.pixels**2 * 2.0**-54

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        channels = x.shape[0] if x.dim() == 3 else 1
        if x.numel() != channels * self.pixels:
            raise InvalidInput(f"noise for {self.pixels} pixels, but the input has {x.numel() // channels}")
        # the pixels with the largest of independent random numbers are a random choice
        score = torch.empty(len(out), self.pixels, dtype=torch.float64).uniform_(generator=generator)
        kept = score.topk(self.keep, dim=1).indices
        shown = torch.zeros(len(out), self.pixels, dtype=torch.bool).scatter_(1, kept, True)
        shown = shown.view(len(out), *((1, *x.shape[1:]) if x.dim() == 3 else x.shape))
        out.copy_(torch.where(shown, x, torch.tensor(float(self.fill))))
