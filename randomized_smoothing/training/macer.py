"""MACER: the certified radius itself is made larger, where it is not large enough yet.

Over k noisy copies the mean soft output gives the classification loss, -ln of the label's; with an inverse temperature
its two largest entries p > q give the radius r = sigma/2 (Phi^-1(p) - Phi^-1(q)). Images that are classified correctly
with r below the margin gamma add weight (gamma - r); no attack is needed. Gaussian noise only. Runtian Zhai et al.:
MACER: Attack-free and Scalable Robust Training via Maximizing Certified Radius, ICLR 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch

from sokbench.core.errors import InvalidInput

from ..noise import Gaussian
from .base import SmoothingObjective, check_at_least, logits_of, noisy_copies

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise
    from .base import Module


@final
@dataclass(frozen=True)
class Macer(SmoothingObjective):
    """copies: k; weight: lambda of the paper; margin: gamma, in units of sigma / 2 as in the paper's program;
    sharpness: the inverse temperature beta."""

    copies: int = 16
    weight: float = 12.0
    margin: float = 8.0
    sharpness: float = 16.0

    def __post_init__(self) -> None:
        check_at_least(1, copies=self.copies)
        check_at_least(0, weight=self.weight, margin=self.margin, sharpness=self.sharpness)

    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(noise, Gaussian):
            raise InvalidInput(f"MACER knows the radius of gaussian noise only, not of {noise.kind} noise")
        logits = logits_of(module, noisy_copies(noise, x, self.copies, generator))
        of_label = logits.softmax(dim=2).mean(dim=0).gather(1, labels[:, None])
        classification = -(of_label + 1e-10).log().mean()
        top, classes = (self.sharpness * logits).softmax(dim=2).mean(dim=0).topk(2, dim=1)
        # Phi^-1 has no gradient to follow at 0 and 1, where float32 puts saturated outputs
        lead = torch.special.ndtri(top[:, 0]) - torch.special.ndtri(top[:, 1])
        counted = (classes[:, 0] == labels) & lead.isfinite() & (lead.abs() <= self.margin)
        # chosen before the quantile is differentiated: 0 times an infinite gradient is no number
        first, second = (torch.special.ndtri(top[counted, place]) for place in (0, 1))
        robustness = noise.sigma / 2 * (self.margin - (first - second)).sum() / len(x)
        return classification + self.weight * robustness, logits[0]
