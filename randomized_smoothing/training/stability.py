"""Stability training: the output on a noisy image is drawn to that on the image itself.

Cross entropy on the clean image, plus `weight` times the cross entropy of the noisy output against the clean one. Bai
Li, Changyou Chen, Wenlin Wang, Lawrence Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019,
after Stephan Zheng et al.: Improving the Robustness of Deep Neural Networks via Stability Training, CVPR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch.nn.functional import cross_entropy

from .base import SmoothingObjective, check_at_least, noisy_copies

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise
    from .base import Module


@final
@dataclass(frozen=True)
class Stability(SmoothingObjective):
    """CE(f(x), y) + weight CE(f(x + z), softmax f(x))."""

    weight: float = 2.0

    def __post_init__(self) -> None:
        check_at_least(0, weight=self.weight)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        clean, noisy = module(x), module(noisy_copies(noise, x, 1, generator)[0])
        drift = cross_entropy(noisy, clean.softmax(dim=1))
        return cross_entropy(clean, labels) + self.weight * drift, noisy
