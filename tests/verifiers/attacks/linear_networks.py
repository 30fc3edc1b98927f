"""Networks for which the worst point of a ball is known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sokbench.core.network import Network


def linear_network(weight: Tensor, bias: Tensor) -> Network:
    """logits = weight x + bias for x of shape (n,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return Network("linear", layer.eval(), (weight.shape[1],), weight.shape[0], "0" * 64)


def exact_least_margin(network: Network, x: Tensor, label: int, norm: str, radius: float) -> float:
    """min over the ball and over j of f_y - f_j without a box: the gradient's dual norm times the radius."""
    layer = network.module
    assert isinstance(layer, nn.Linear)
    logits = layer(x).detach()
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    margins = [
        float(logits[label] - logits[j])
        - radius * float(torch.linalg.vector_norm((layer.weight[label] - layer.weight[j]).detach(), dual))
        for j in range(network.num_classes)
        if j != label
    ]
    return min(margins)
