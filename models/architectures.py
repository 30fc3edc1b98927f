"""The seven architectures of the SoK (Li, Xie, Li: SoK: Certified Robustness for Deep Neural Networks, Sec. VI-A), and
by their names those of `residual`.

Every hidden layer is followed by a ReLU, the output layer is not. The paper counts the neurons of a network as its
ReLU units plus its outputs. Weights start from PyTorch's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from sokbench.core.errors import InvalidInput, UnknownName

from . import residual


@dataclass(frozen=True)
class Conv:
    """A square convolution with `out` channels."""

    out: int
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Architecture:
    """Convolutions, then hidden fully connected layers of these widths, then one output per class."""

    convolutions: tuple[Conv, ...]
    hidden: tuple[int, ...]


_SAME = {width: Conv(width, 3, 1, 1) for width in (16, 32, 64, 128)}
_HALF = {width: Conv(width, 4, 2, 1) for width in (16, 32, 64, 128)}

ARCHITECTURES: dict[str, Architecture] = {
    "fcnn_a": Architecture((), (20, 20)),
    "fcnn_b": Architecture((), (100, 100, 100)),
    "fcnn_c": Architecture((), (1024,) * 7),
    "cnn_a": Architecture((_HALF[16], _HALF[32]), (100,)),
    "cnn_b": Architecture((_SAME[16], _HALF[16], _SAME[32], _HALF[32]), (512,)),
    "cnn_c": Architecture((_SAME[32], _HALF[32], _SAME[64], _HALF[64]), (512, 512)),
    "cnn_d": Architecture((_SAME[64], _SAME[64], _HALF[128], _SAME[128], _SAME[128]), (512,)),
}
"""By the paper's names: FCNN_A to FCNN_C and CNN_A to CNN_D."""


class Normalize(nn.Module):
    """(x - mean) / std per channel, as the first layer of a network: radii stay in units of the raw input."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or any(value <= 0 for value in std):
            raise InvalidInput(f"normalization needs one mean and one std > 0 per channel, not {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def build(
    architecture: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> nn.Sequential:
    """The network with fresh weights from PyTorch's global generator; maps (B, *input_shape) to (B, num_classes).

    input_shape: (channels, height, width); normalization: (mean, std) per channel, made a layer of the network.
    Raises `UnknownName`, and `InvalidInput` for images too small for the convolutions.
    """
    layers: list[nn.Module] = [] if normalization is None else [Normalize(*normalization)]
    if architecture in residual.LAYERS:
        return nn.Sequential(*layers, *residual.layers(architecture, input_shape, num_classes))
    if architecture not in ARCHITECTURES:
        raise UnknownName("architecture", architecture, [*ARCHITECTURES, *residual.LAYERS])
    plan = ARCHITECTURES[architecture]
    shapes = feature_shapes(plan, input_shape)
    if min(prod(shape) for shape in shapes) < 1 or num_classes < 2:
        raise InvalidInput(f"{architecture} cannot take inputs {input_shape} and {num_classes} classes")
    for conv, (channels, _, _) in zip(plan.convolutions, shapes, strict=False):
        layers += [nn.Conv2d(channels, conv.out, conv.kernel, conv.stride, conv.padding), nn.ReLU()]
    layers.append(nn.Flatten())
    widths = (prod(shapes[-1]), *plan.hidden)
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    layers.append(nn.Linear(widths[-1], num_classes))
    return nn.Sequential(*layers)


def feature_shapes(plan: Architecture, input_shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(channels, height, width) of the input and after each convolution; sizes below 1 mean it does not fit."""
    shapes = [input_shape]
    for conv in plan.convolutions:
        _, height, width = shapes[-1]
        after = [(size + 2 * conv.padding - conv.kernel) // conv.stride + 1 for size in (height, width)]
        shapes.append((conv.out, max(after[0], 0), max(after[1], 0)))
    return shapes


def neuron_count(architecture: str, input_shape: tuple[int, int, int], num_classes: int) -> int:
    """ReLU units plus outputs, as the SoK counts them."""
    if architecture in residual.LAYERS:
        module = nn.Sequential(*residual.layers(architecture, input_shape, num_classes)).eval()
        return residual.relu_units(module, input_shape) + num_classes
    plan = ARCHITECTURES[architecture]
    units = sum(prod(shape) for shape in feature_shapes(plan, input_shape)[1:])
    return units + sum(plan.hidden) + num_classes


def parameter_count(module: nn.Module) -> int:
    """Trained numbers: weights and biases, not the constants of a normalization."""
    return sum(parameter.numel() for parameter in module.parameters())
