"""Leaky ReLUs, clamps and max pools are split like ReLUs: branch and bound decides what CROWN leaves open."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem

MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}
for name, activation in {"leaky": nn.LeakyReLU(0.1), "clamp": nn.Hardtanh(-0.3, 0.4)}.items():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 12), activation, nn.Linear(12, 12), activation, nn.Linear(12, 3))
    MODULES[name] = layers, (4,)
torch.manual_seed(0)
MODULES["max pool"] = nn.Sequential(nn.Conv2d(1, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)), (1, 5, 5)


@pytest.mark.parametrize("name", MODULES)
def test_decided_and_right(name: str) -> None:
    """At radii where CROWN gives up: what is verified survives sampling, what is falsified comes with a witness."""
    module, shape = MODULES[name]
    network = sokbench.load_network(module, input_shape=shape)
    crown, beta_crown = sokbench.method("crown"), sokbench.method("beta_crown")
    generator = torch.Generator().manual_seed(1)
    searched = 0
    for _ in range(4):
        x = torch.rand(shape, generator=generator)
        label = int(module(x[None]).argmax())
        for radius in (0.2, 0.3, 0.4):
            problem = Problem(network, x, label, Ball("linf", radius))
            if crown.verify(problem).verdict is Verdict.VERIFIED:
                continue
            outcome = beta_crown.verify(problem, 60.0)
            points = x + radius * (2 * torch.rand((4000, *shape), generator=generator) - 1)
            wrong = bool((module(points).argmax(dim=1) != label).any())
            assert outcome.verdict is not Verdict.UNKNOWN, radius
            assert not (wrong and outcome.verdict is Verdict.VERIFIED), radius
            searched += outcome.verdict is Verdict.VERIFIED
    assert searched >= 1
