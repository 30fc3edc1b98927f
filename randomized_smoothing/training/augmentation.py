"""Training on noisy inputs: cross entropy, one draw per image and epoch.

Cohen, Rosenfeld, Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019; with Laplace and uniform
noise, Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch.nn.functional import cross_entropy

from .base import SmoothingObjective, check_at_least, logits_of, noisy_copies

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise
    from .base import Module


@final
@dataclass(frozen=True)
class Augmentation(SmoothingObjective):
    """Mean cross entropy over `copies` noisy copies of each image."""

    copies: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, copies=self.copies)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        logits = logits_of(module, noisy_copies(noise, x, self.copies, generator))
        return cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies)), logits[0]
