"""SmoothAdv: adversarial training of the smoothed classifier.

The attack climbs -ln of the mean soft output over m noisy copies within an l2 ball; the base classifier is trained on
the same m noises around the point found. Additive noise only. Hadi Salman et al.: Provably Robust Deep Learning via
Adversarially Trained Smoothed Classifiers, NeurIPS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch.nn.functional import cross_entropy

from .base import SmoothingObjective, check_at_least, logits_of, noisy_copies
from .smoothed_attack import ascend

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise
    from .base import Module


@final
@dataclass(frozen=True)
class SmoothAdv(SmoothingObjective):
    """radius: of the l2 ball, reached at the end of the warm-up; steps of length 2 radius / steps; copies: m."""

    radius: float = 0.25
    steps: int = 2
    copies: int = 2

    def __post_init__(self) -> None:
        check_at_least(0, radius=self.radius)
        check_at_least(1, steps=self.steps, copies=self.copies)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        shifts = noisy_copies(noise, x, self.copies, generator) - x
        radius = ramp * self.radius
        attacked = ascend(module, x, labels, shifts, self.steps, 2 * radius / self.steps, radius) if radius else x
        logits = logits_of(module, attacked + shifts)
        return cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies)), logits[0]
