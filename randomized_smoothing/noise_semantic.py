"""Random transformations instead of additive noise: brightness with contrast, and translation.

Li et al.: TSS: Transformation-Specific Smoothing for Robustness Certification, CCS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput

from .noise_base import Noise, check_positive

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class BrightnessContrast(Noise):
    """exp(k) (x + b): k normal of deviation `contrast`, b normal of deviation `brightness`, one of each per copy.

    Applied to exp(k0) (x + b0) it gives exp(k + k0) (x + b0 + exp(-k0) b).
    """

    kind: ClassVar[str] = "brightness_contrast"
    additive: ClassVar[bool] = False
    contrast: float
    brightness: float

    def __post_init__(self) -> None:
        check_positive("deviation of the contrast", self.contrast)
        check_positive("deviation of the brightness", self.brightness)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        drawn = torch.empty(2, len(out), *[1] * x.dim(), dtype=torch.float64).normal_(generator=generator)
        out.copy_((x.double() + self.brightness * drawn[1]).mul_((self.contrast * drawn[0]).exp_()))


@dataclass(frozen=True)
class Translation(Noise):
    """The image moved by whole pixels down and right, each a normal number of deviation `sigma`, rounded.

    What leaves on one side comes in on the other, so that translations add up: moved by whole pixels first, the image
    is what it would be if the rounded numbers had been drawn around that. Images are (channels, height, width).
    """

    kind: ClassVar[str] = "translation"
    additive: ClassVar[bool] = False
    sigma: float

    def __post_init__(self) -> None:
        check_positive("sigma of the translation", self.sigma)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        if x.dim() != 3:
            raise InvalidInput(f"translation is for images (channels, height, width), not for shape {tuple(x.shape)}")
        # in float64: a float32 normal number would be on the wrong side of a half now and then
        moved = torch.empty(2, len(out), 1, dtype=torch.float64).normal_(0.0, self.sigma, generator=generator)
        down, right = moved.round_().long()
        height, width = x.shape[1:]
        rows = (torch.arange(height) - down) % height
        columns = (torch.arange(width) - right) % width
        out.copy_(x[:, rows[:, :, None], columns[:, None, :]].movedim(0, 1))
