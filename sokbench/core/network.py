"""A network under test: a torch module with the shapes and the identity that results are filed under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier on unnormalized inputs (normalization, if any, is its first layer).

    name:        zoo name, file name or class name, for people
    module:      in eval mode; maps (B, *input_shape) to logits (B, num_classes)
    input_shape: without the batch dimension
    sha256:      of the file or of the state dict: what makes a recorded result stale
    """

    name: str
    module: Module
    input_shape: tuple[int, ...]
    num_classes: int
    sha256: str

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of inputs (B, *input_shape)."""
        logits: Tensor = self.module(x)
        return logits
