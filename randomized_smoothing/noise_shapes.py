"""Additive noises of other shapes, after Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput

from .noise_base import Noise, check_positive, check_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class GeneralizedGaussian(Noise):
    """Independent noise of density proportional to exp(-(|z| / scale)^exponent) on every coordinate.

    exponent 1 is Laplace noise, 2 Gaussian noise of deviation scale / sqrt(2); below 1 the density is not log-concave.
    """

    kind: ClassVar[str] = "generalized_gaussian"
    scale: float
    exponent: float

    def __post_init__(self) -> None:
        check_positive("scale of the generalized Gaussian noise", self.scale)
        check_positive("exponent of the generalized Gaussian noise", self.exponent)
        if self.exponent < 1:
            raise InvalidInput(f"the exponent of generalized Gaussian noise must be at least 1, not {self.exponent}")

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        # (|z| / scale)^exponent follows the Gamma distribution of shape 1 / exponent
        shape = torch.full(out.shape, 1.0 / self.exponent, dtype=torch.float64)
        magnitude = torch._standard_gamma(shape, generator=generator).pow_(1.0 / self.exponent).mul_(self.scale)
        out.uniform_(-1.0, 1.0, generator=generator)
        out.copy_(magnitude.copysign_(out)).add_(x)


@dataclass(frozen=True)
class Pareto(Noise):
    """Independent noise of density shape / (2 scale) (1 + |z| / scale)^(-shape - 1) on every coordinate."""

    kind: ClassVar[str] = "pareto"
    scale: float
    shape: float

    def __post_init__(self) -> None:
        check_positive("scale of the Pareto noise", self.scale)
        check_positive("shape of the Pareto noise", self.shape)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        # by inversion of P[|z| > s] = (1 + s / scale)^-shape, in float64 for the sake of the tails
        uniform = torch.empty(out.shape, dtype=torch.float64).uniform_(-1.0, 1.0, generator=generator)
        survival = uniform.abs().neg_().add_(1.0).clamp_min_(2.0**-53)
        out.copy_(survival.log_().mul_(-1.0 / self.shape).expm1_().mul_(self.scale).copysign_(uniform)).add_(x)


@dataclass(frozen=True)
class LinfExponential(Noise):
    """Noise of density proportional to exp(-||z||_inf / scale) on inputs of `dimension` coordinates in all."""

    kind: ClassVar[str] = "linf_exponential"
    scale: float
    dimension: int

    def __post_init__(self) -> None:
        check_positive("scale of the l_inf exponential noise", self.scale)
        check_whole("dimension of the l_inf exponential noise", self.dimension, 1)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        if x.numel() != self.dimension:
            raise InvalidInput(f"noise for {self.dimension} coordinates, but the input has {x.numel()}")
        # ||z||_inf follows the Gamma distribution of shape d; given that, z is uniform on the surface of its cube:
        # one coordinate, any, is at one of the two ends
        radius = torch._standard_gamma(torch.full((len(out),), float(self.dimension)).double(), generator=generator)
        flat = out.view(len(out), -1)
        flat.uniform_(-1.0, 1.0, generator=generator)
        at_end = torch.randint(self.dimension, (len(out), 1), generator=generator)
        flat.scatter_(1, at_end, torch.ones(len(out), 1).copysign_(flat.gather(1, at_end)))
        flat.mul_((radius * self.scale).float()[:, None])
        out.add_(x)
