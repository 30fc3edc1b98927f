"""SmoothMix: images mixed with adversarial ones far away, with labels that fade to uniform.

From x the attack on the smoothed classifier climbs without a ball. With t uniform on [0, 1/2], the mix (1 - t) x + t x'
should have the output (1 - t) F(x) + t / classes, where F(x) is the mean soft output over the noisy copies, taken as
constant: weight times the cross entropy to that is added to the plain one. Additive noise only. Jongheon Jeong et al.:
SmoothMix: Training Confidence-calibrated Smoothed Classifiers for Certified Robustness, NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch.nn.functional import cross_entropy

from .base import SmoothingObjective, check_at_least, logits_of, noisy_copies
from .smoothed_attack import ascend

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise
    from .base import Module


@final
@dataclass(frozen=True)
class SmoothMix(SmoothingObjective):
    """copies: m; steps, step: of the attack (l2 length); weight: eta of the paper, reached after the warm-up."""

    copies: int = 2
    steps: int = 4
    step: float = 0.5
    weight: float = 5.0

    def __post_init__(self) -> None:
        check_at_least(1, copies=self.copies, steps=self.steps)
        check_at_least(0, step=self.step, weight=self.weight)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        shifts = noisy_copies(noise, x, self.copies, generator) - x
        far = ascend(module, x, labels, shifts, self.steps, self.step, None)
        logits = logits_of(module, x + shifts)
        plain = cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies))
        mixed_by = torch.rand(len(x), 1, generator=generator) / 2
        share = mixed_by.view(-1, *[1] * (x.dim() - 1))
        mean = logits.detach().softmax(dim=2).mean(dim=0)
        wanted = (1.0 - mixed_by) * mean + mixed_by / mean.shape[1]
        mixed = logits_of(module, (1.0 - share) * x + share * far + shifts)
        drawn = cross_entropy(mixed.flatten(0, 1), wanted.repeat(self.copies, 1))
        return plain + ramp * self.weight * drawn, logits[0]
