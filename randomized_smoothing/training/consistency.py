"""Consistency regularization: the outputs of all noisy copies of an image are drawn to their mean.

Mean cross entropy over m copies, plus weight * mean KL(mean || output) + entropy_weight * entropy of the mean. Jongheon
Jeong, Jinwoo Shin: Consistency Regularization for Certified Robustness of Smoothed Classifiers, NeurIPS 2020.
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

SMALLEST = 1e-20
"""Added to probabilities whose logarithm is taken."""


@final
@dataclass(frozen=True)
class Consistency(SmoothingObjective):
    """copies: m; weight: lambda; entropy_weight: eta of the paper."""

    copies: int = 2
    weight: float = 10.0
    entropy_weight: float = 0.5

    def __post_init__(self) -> None:
        check_at_least(1, copies=self.copies)
        check_at_least(0, weight=self.weight, entropy_weight=self.entropy_weight)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        logits = logits_of(module, noisy_copies(noise, x, self.copies, generator))
        plain = cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies))
        log_soft = logits.log_softmax(dim=2)
        mean = log_soft.exp().mean(dim=0)
        log_mean = (mean + SMALLEST).log()
        divergence = (mean * (log_mean - log_soft)).sum(dim=2).mean()
        entropy = -(mean * log_mean).sum(dim=1).mean()
        return plain + self.weight * divergence + self.entropy_weight * entropy, logits[0]
