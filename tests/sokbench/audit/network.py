"""The network that the audit tests are about."""

from __future__ import annotations

import torch


def pixel() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[1, 0] = 4.0
        network[1].bias.copy_(torch.eye(10)[0])
    return network
