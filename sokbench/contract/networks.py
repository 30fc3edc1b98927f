"""Tiny networks and inputs whose every answer can be found by exhaustion; seeded, and the same everywhere.

They are small on purpose: a bound that is wrong on a large network is wrong on one of these, and here it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UnknownName
from ..core.evaluation import least_margin, logits64
from ..core.network import Network, network_from_module

INPUTS: Final = 3
"""Inputs per network."""

LEAST_CLEAN_MARGIN: Final = 0.05
"""The inputs chosen are classified by at least this margin, so that a zero radius is no borderline case."""


def _linear() -> nn.Sequential:
    """2 inputs, 3 classes, no activation: every sound relaxation is exact here."""
    return nn.Sequential(nn.Linear(2, 3))


def _mlp() -> nn.Sequential:
    """2-8-3: one hidden layer."""
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))


def _deep() -> nn.Sequential:
    """3-6-6-4: bounds of the second layer depend on those of the first."""
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))


def _conv() -> nn.Sequential:
    """A strided, padded convolution on 1x4x4, 3 classes."""
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def _edge() -> nn.Sequential:
    """2-4-2 with a neuron that is always exactly 0 and one that is constant: 0/0 in a slope u / (u - l)."""
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def _large() -> nn.Sequential:
    """30-80-80-80-10: too much for an exact method within the limit of the deadline check."""
    sizes = (30, 80, 80, 80)
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(80, 10))


class _Sorted(nn.Module):
    """A layer that no bound engine knows: the features in ascending order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=1).values


def _odd() -> nn.Sequential:
    """2-4-3 with a sort in the middle, which few methods can do."""
    return nn.Sequential(nn.Linear(2, 4), _Sorted(), nn.Linear(4, 3))


_BUILDERS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "mlp": (_mlp, (2,)),
    "deep": (_deep, (3,)),
    "conv": (_conv, (1, 4, 4)),
    "linear": (_linear, (2,)),
    "edge": (_edge, (2,)),
    "large": (_large, (30,)),
    "odd": (_odd, (2,)),
}

ORDINARY: Final = ("mlp", "deep", "conv", "linear", "edge")
"""The networks that most checks go through: chains of affine layers and ReLU."""


@cache
def tiny_network(name: str) -> Network:
    """One of the tiny networks by name. Raises `UnknownName`."""
    if name not in _BUILDERS:
        raise UnknownName("tiny network", name, _BUILDERS)
    build, shape = _BUILDERS[name]
    # the layers' own initialization draws from the global generator, which is not ours to advance
    with torch.random.fork_rng(devices=[]):
        module = build()
    rng = np.random.default_rng(sum(name.encode()))
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                fan_in = layer.weight[0].numel()
                layer.weight.copy_(torch.from_numpy(rng.normal(0, 1.6 / fan_in**0.5, layer.weight.shape)))
                assert layer.bias is not None
                layer.bias.copy_(torch.from_numpy(rng.normal(0, 0.3, layer.bias.shape)))
        if name == "edge":
            first = module[0]
            assert isinstance(first, nn.Linear)
            first.weight[:2] = 0.0
            first.bias[:2] = torch.tensor([0.0, 0.7])
    return network_from_module(module, f"tiny {name}", shape)


@cache
def inputs_of(name: str) -> tuple[Tensor, Tensor]:
    """(x (INPUTS, *shape) float32 in [0, 1], labels (INPUTS,)), all classified as labelled; cloned by who uses them.

    Where two classes can be found, both occur; the first input touches the border of the box [0, 1].
    """
    network = tiny_network(name)
    candidates = torch.from_numpy(np.random.default_rng(7).random((500, *network.input_shape), dtype=np.float32))
    candidates[0].flatten()[0] = 0.0
    candidates[1].flatten()[-1] = 1.0
    logits = logits64(network, candidates)
    labels = logits.argmax(dim=1)
    good = (least_margin(logits, labels) > LEAST_CLEAN_MARGIN).nonzero().flatten()
    chosen = [int(good[0])]
    for index in good[1:].tolist():
        fresh = int(labels[index]) not in labels[chosen].tolist()
        if fresh and len(chosen) < INPUTS:
            chosen.append(index)
    chosen += [index for index in good.tolist() if index not in chosen][: INPUTS - len(chosen)]
    return candidates[chosen], labels[chosen]


def with_permuted_classes(network: Network, order: list[int]) -> Network:
    """The same network with its classes in another order: new class i is old class `order[i]`."""
    import copy

    module = copy.deepcopy(network.module)
    last = module[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.copy_(last.weight[order].clone())
        last.bias.copy_(last.bias[order].clone())
    return network_from_module(module, f"{network.name}, classes {order}", network.input_shape)
