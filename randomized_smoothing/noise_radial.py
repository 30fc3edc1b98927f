"""Rotation symmetric noise with exponential tails, after Yang et al.: Randomized Smoothing of All Shapes and Sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput

from .noise_base import Noise, check_positive, check_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class L2Exponential(Noise):
    """Noise of density proportional to exp(-||z||_2 / scale) on inputs of `dimension` coordinates in all.

    A coordinate has a deviation of sqrt(dimension + 1) scale.
    """

    kind: ClassVar[str] = "l2_exponential"
    scale: float
    dimension: int

    def __post_init__(self) -> None:
        check_positive("scale of the l2 exponential noise", self.scale)
        check_whole("dimension of the l2 exponential noise", self.dimension, 2)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        if x.numel() != self.dimension:
            raise InvalidInput(f"noise for {self.dimension} coordinates, but the input has {x.numel()}")
        # ||z||_2 follows the Gamma distribution of shape d, and the direction is that of a normal vector
        length = torch._standard_gamma(torch.full((len(out),), float(self.dimension)).double(), generator=generator)
        flat = out.view(len(out), -1)
        flat.normal_(generator=generator)
        flat.mul_((length * self.scale / flat.double().norm(dim=1)).float()[:, None])
        out.add_(x)
