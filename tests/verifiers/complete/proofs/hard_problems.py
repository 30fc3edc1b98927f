"""Problems that hold, but only just, on networks of every kind that proofs are written for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import Skip, dense
from verifiers.complete.proofs.claims import read_proofs


def read_proof(path: str | Path) -> dict:
    (arrays,) = read_proofs(Path(path))
    return arrays


def residual(seed: int, inputs: int = 4) -> nn.Sequential:
    """A sum inside, and one whose terms are both activations."""
    twice = Skip(nn.Sequential(*dense([16, 16, 16], seed + 1, 1.5), nn.ReLU()))
    return nn.Sequential(dense([inputs, 16], seed, 2.0), nn.ReLU(), twice, dense([16, 3], seed + 2, 2.0)).float()


class Arctan(nn.Module):
    """arctan x."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.atan(x)


def smooth(name: str, seed: int = 1) -> nn.Sequential:
    """Two hidden layers of the activations named."""
    kinds = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "arctan": Arctan, "relu": nn.ReLU}
    hidden, scale = [kinds[part] for part in name.split()], 6.0 if name == "sigmoid" else 2.0
    layers = [
        dense([before, after], seed + place, scale)
        for place, (before, after) in enumerate(((4, 16), (16, 16), (16, 3)))
    ]
    return nn.Sequential(layers[0], hidden[0](), layers[1], hidden[-1](), layers[2]).float()


def smooth_residual() -> nn.Sequential:
    inner = Skip(nn.Sequential(dense([12, 12], 1, 2.0), nn.Tanh(), dense([12, 12], 2, 2.0), Arctan()))
    return nn.Sequential(dense([4, 12], 0, 2.0), nn.Sigmoid(), inner, dense([12, 3], 3, 2.0)).float()


PROBLEMS = {
    "chain": (dense([4, 24, 24, 3], 0, 2.0).float(), Ball("linf", 0.166015625)),
    "residual": (residual(1), Ball("linf", 0.15)),
    "l1": (dense([4, 24, 24, 3], 0, 2.0).float(), Ball("l1", 0.34, -0.5, 0.5)),
    "residual l1": (residual(1), Ball("l1", 0.35)),
    "sigmoid": (smooth("sigmoid"), Ball("linf", 0.8125)),
    "tanh": (smooth("tanh"), Ball("linf", 0.22)),
    "arctan l1": (smooth("arctan"), Ball("l1", 0.59375)),
    "tanh relu": (smooth("tanh relu"), Ball("linf", 0.112)),
    "smooth residual": (smooth_residual(), Ball("linf", 1.5625)),
}


def hard_problem(name: str) -> Problem:
    """Robust, but only just: several leaves are needed."""
    module, ball = PROBLEMS[name]
    network = load_network(module, (4,))
    x = torch.linspace(-0.5, 0.5, 4)
    return Problem(network, x, int(network(x[None]).argmax()), ball)
