"""What all training objectives of smoothed classifiers share: noisy copies, and the loss of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from sokbench.core.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..noise import Noise

    Module = Callable[[Tensor], Tensor]


class SmoothingObjective(ABC):
    """A loss of the base classifier that makes the smoothed one robust. A value: parameters only."""

    @abstractmethod
    def loss(
        self, module: Module, x: Tensor, labels: Tensor, noise: Noise, generator: Generator, ramp: float
    ) -> tuple[Tensor, Tensor]:
        """(loss to be differentiated, logits of noisy inputs in the order of the labels, one copy of each).

        x: (B, *shape), unnormalized; labels: (B,); ramp: from 0 to 1 over the warm-up, times every attack's strength.
        """


def noisy_copies(noise: Noise, x: Tensor, copies: int, generator: Generator) -> Tensor:
    """(copies, B, *shape): independent noisy copies of x (B, *shape)."""
    import torch

    if noise.additive:
        out = torch.empty(copies * len(x), *x.shape[1:])
        noise.sample_(out, torch.zeros(x.shape[1:]), generator)
        return x + out.view(copies, *x.shape)
    out = torch.empty(len(x), copies, *x.shape[1:])
    for place, image in zip(out, x, strict=True):
        noise.sample_(place, image, generator)
    return out.transpose(0, 1)


def logits_of(module: Module, copies: Tensor) -> Tensor:
    """(copies, B, classes) for inputs (copies, B, *shape), in one pass."""
    logits = module(copies.flatten(0, 1))
    return logits.view(*copies.shape[:2], logits.shape[1])


def check_at_least(least: float, **values: float) -> None:
    """Raise `InvalidInput` for a parameter below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise InvalidInput(f"{name} must be at least {least:g}, not {value}")
