"""Small networks and methods whose answers are known by hand."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

import sokbench
from sokbench.core.method import MethodInfo


def linear_network(weight: list[list[float]], bias: list[float]) -> sokbench.Network:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data = torch.tensor(weight)
    layer.bias.data = torch.tensor(bias)
    return sokbench.load_network(layer, input_shape=(len(weight[0]),))


class ExactLinear(sokbench.BoundingVerifier):
    """Exact for a single linear layer and l_inf."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="exact_linear",
        title="Exact on linear networks",
        kind="verifier",
        family="baseline",
        norms=("linf",),
        summary="The minimum of a linear function on a box.",
        paper="none",
    )

    def margins(
        self,
        network: sokbench.Network,
        x: Tensor,
        labels: Tensor,
        ball: sokbench.Ball,
        deadline: sokbench.Deadline = sokbench.Deadline(),  # noqa: B008
    ) -> Tensor:
        layer = network.module
        assert isinstance(layer, nn.Linear)
        rows = layer.weight[labels][:, None] - layer.weight[None]
        offset = layer.bias[labels][:, None] - layer.bias[None]
        value = (rows * x[:, None]).sum(-1) + offset - ball.radius * rows.abs().sum(-1)
        return value.detach().scatter(1, labels[:, None], torch.inf)
