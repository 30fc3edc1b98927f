"""The networks of randomized smoothing on CIFAR-10: ResNet-110, Wide ResNet 40-2, and a small one for a CPU.

`resnet110` is that of Cohen et al. (2019) and most who followed: He et al.'s residual network for CIFAR with 18 basic
blocks per stage and 1x1 projections where the shape changes, 1,730,714 parameters. `wrn_40_2` is Zagoruyko and
Komodakis' (2016) of depth 40 and width 2 with pre-activation blocks, as Yang et al. (2020) use it, 2,243,546
parameters. Both start from He et al.'s normal weights. `conv_s` has three convolutions with batch normalization and one
linear layer, 128,970 parameters for CIFAR-10: it trains in minutes on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Final, final

import torch
from torch import Tensor, nn


def _conv(width_in: int, width_out: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, kernel, stride, kernel // 2, bias=False)


@final
class PostActivation(nn.Module):
    """He et al.'s basic block: relu(shortcut(x) + bn(conv(relu(bn(conv(x))))))."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(width_in, width_out, stride),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            _conv(width_out, width_out),
            nn.BatchNorm2d(width_out),
        )
        same = width_in == width_out and stride == 1
        projection = nn.Sequential(_conv(width_in, width_out, stride, 1), nn.BatchNorm2d(width_out))
        self.shortcut = nn.Identity() if same else projection
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.shortcut(x) + self.branch(x))
        return out


@final
class PreActivation(nn.Module):
    """Zagoruyko and Komodakis' block: batch norm and ReLU before each convolution; a projection sees them, too."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(width_in), nn.ReLU())
        self.branch = nn.Sequential(
            _conv(width_in, width_out, stride),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            _conv(width_out, width_out),
        )
        self.projection = None if width_in == width_out else _conv(width_in, width_out, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        active = self.first(x)
        shortcut = x if self.projection is None else self.projection(active)
        out: Tensor = shortcut + self.branch(active)
        return out


def _stages(
    block: Callable[[int, int, int], nn.Module], blocks: int, first: int, widths: tuple[int, ...]
) -> list[nn.Module]:
    """Stages of `blocks` blocks each, the second and later ones at half the size of the one before."""
    layers: list[nn.Module] = []
    width_in = first
    for stage, width in enumerate(widths):
        for number in range(blocks):
            layers.append(block(width_in, width, 2 if stage and not number else 1))
            width_in = width
    return layers


def _resnet110(shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    start = [_conv(shape[0], 16), nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)]
    return [*start, *_stages(PostActivation, 18, 16, (16, 32, 64)), *head]


def _wrn_40_2(shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    head = [nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes)]
    return [_conv(shape[0], 16), *_stages(PreActivation, 6, 16, (32, 64, 128)), *head]


def _conv_s(shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out, kernel, stride in ((shape[0], 32, 4, 2), (32, 64, 4, 2), (64, 128, 3, 1)):
        convolution = nn.Conv2d(width_in, width_out, kernel, stride, 1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width_out), nn.ReLU()]
    return [*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128 * (shape[1] // 8) * (shape[2] // 8), classes)]


LAYERS: Final = {"resnet110": _resnet110, "wrn_40_2": _wrn_40_2, "conv_s": _conv_s}
"""By name, the layers for an input shape (C, H, W) and a number of classes."""


def layers(name: str, shape: tuple[int, int, int], classes: int) -> list[nn.Module]:
    """The layers of a network of this file, with fresh weights from PyTorch's global generator."""
    made = LAYERS[name](shape, classes)
    if name != "conv_s":
        for module in nn.Sequential(*made).modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return made


def relu_units(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """How many numbers pass through ReLUs for one input."""
    passed: list[int] = []
    hooks = [
        relu.register_forward_hook(lambda _module, _inputs, out: passed.append(prod(out.shape[1:])))
        for relu in module.modules()
        if isinstance(relu, nn.ReLU)
    ]
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return sum(passed)
