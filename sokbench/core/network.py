"""A network under test: a torch module with the shapes and the identity that results are filed under."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InvalidInput, first_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, eq=False)
class Network:
    """A network on unnormalized inputs (normalization, if any, is its first layer): a classifier, or any function whose
    outputs a property speaks of.

    name:        zoo name, file name or class name, for people
    module:      in eval mode; maps (B, *input_shape) to logits (B, num_classes)
    input_shape: without the batch dimension
    num_classes: the number of outputs; a `Problem` needs at least two
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


def network_from_module(module: Module, name: str, input_shape: tuple[int, ...], sha256: str | None = None) -> Network:
    """A checked `Network` around a torch module; `sha256` defaults to a hash of its structure and state dict."""
    import torch

    module = module.eval()
    digest = hashlib.sha256(repr(module).encode())
    for key, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InvalidInput(f"the weights of {name} contain NaN or infinity, in {key}")
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    with torch.no_grad():
        try:
            logits = module(torch.zeros(2, *input_shape))
        except RuntimeError as error:
            raise InvalidInput(f"{name} does not accept inputs of shape {input_shape}: {first_line(error)}") from None
    if logits.dim() != 2 or logits.shape[0] != 2 or logits.shape[1] < 2:
        raise InvalidInput(f"{name} maps 2 inputs to shape {tuple(logits.shape)}; a classifier gives (2, classes)")
    return Network(name, module, input_shape, int(logits.shape[1]), sha256 or digest.hexdigest())
