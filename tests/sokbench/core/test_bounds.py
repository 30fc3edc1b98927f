"""The public door to the bounds of every node."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.network import network_from_module


def test_every_node_is_bounded_and_the_last_one_holds_the_logits() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    network, ball = network_from_module(module, "tanh", (4,)), sokbench.Ball("linf", 0.1)
    x = torch.rand(2, 4)
    nodes = sokbench.bounds(network, x, ball)
    assert [node.operation for node in nodes] == ["input", "linear", "relu", "linear", "tanh", "linear"]
    sample = x + 0.1 * (2 * torch.rand(500, 1, 4) - 1)
    logits = module.double()(sample.double())
    assert bool((nodes[-1].lower <= logits).all() and (logits <= nodes[-1].upper).all())
    assert float((nodes[-1].upper - nodes[-1].lower).max()) < 2.0
    with pytest.raises(sokbench.UnknownName, match="crwn"):
        sokbench.bounds(network, x, ball, "crwn")
