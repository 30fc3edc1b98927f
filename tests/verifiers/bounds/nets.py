"""Small networks and exact answers for them."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from sokbench.core.problem import Ball
from verifiers.graph import trace
from verifiers.graph.graph import Graph
from verifiers.graph.rewriting.simplify import simplify


class Skip(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def dense(sizes: list[int], seed: int, scale: float = 1.0) -> nn.Sequential:
    """Linear layers with ReLUs between them and Gaussian weights, float64."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layer = nn.Linear(before, after, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(scale * torch.randn(after, before, generator=generator) / before**0.5)
            layer.bias.copy_(0.3 * torch.randn(after, generator=generator))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def hostile(seed: int) -> tuple[nn.Sequential, Tensor]:
    """(a network of two inputs and classes, an input (1, 2)): weights and biases spread over 30 orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    module = dense([2, 3, 3, 2], seed)
    for layer in module:
        if isinstance(layer, nn.Linear):
            for tensor in (layer.weight, layer.bias):
                tensor.data *= 2.0 ** torch.randint(-50, 50, tensor.shape, generator=generator)
    return module, torch.rand(1, 2, generator=generator, dtype=torch.float64)


def convolutional(seed: int) -> nn.Sequential:
    """Normalization-free convolutions with a pool, a skip connection and a batch norm; inputs (2, 6, 6)."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.3, 2.0)
    inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norm, nn.ReLU(), Skip(inner), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip
    return module.double().eval()


def graph_for(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    return simplify(trace(module, shape))


def points_in(x: Tensor, ball: Ball, count: int, seed: int = 0) -> Tensor:
    """Points of the ball around one x: uniform directions at full and random radius, and corners; (count, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count, x.numel()), generator=generator, dtype=torch.float64)
    if ball.norm == "linf":
        noise[::2] = noise[::2].sign()
        noise = noise / noise.abs().amax(dim=1, keepdim=True)
    elif ball.norm == "l2":
        noise = noise / noise.norm(dim=1, keepdim=True)
    else:
        noise[::2] *= torch.rand(noise[::2].shape, generator=generator, dtype=torch.float64) ** 8
        noise = noise / noise.abs().sum(dim=1, keepdim=True)
    noise[1::4] *= torch.rand((len(noise[1::4]), 1), generator=generator, dtype=torch.float64)
    points = x.double() + (1 - 1e-12) * ball.radius * noise.reshape(count, *x.shape)
    return points.clamp(ball.low, ball.high) if ball.low is not None or ball.high is not None else points


def margins_at(module: nn.Module, points: Tensor, label: int) -> Tensor:
    """f_y - f_j at points, (N, C), +inf at j = y."""
    with torch.no_grad():
        logits = module(points)
    gaps = logits[:, label : label + 1] - logits
    gaps[:, label] = torch.inf
    return gaps


def exact_minimum(module: nn.Sequential, x: np.ndarray, radius: float, direction: np.ndarray) -> float:
    """min of direction f over the l_inf ball, by one linear programme per activation pattern (one hidden layer)."""
    first, _, last = module
    w1, b1 = first.weight.detach().numpy(), first.bias.detach().numpy()
    w2, b2 = direction @ last.weight.detach().numpy(), float(direction @ last.bias.detach().numpy())
    limits = np.stack([x - radius, x + radius], axis=1)
    best = np.inf
    for pattern in itertools.product([0.0, 1.0], repeat=len(b1)):
        active = np.array(pattern)
        sign = 1.0 - 2.0 * active  # active: -(W x + b) <= 0; inactive: W x + b <= 0
        found = linprog((w2 * active) @ w1, A_ub=sign[:, None] * w1, b_ub=-sign * b1, bounds=limits)
        if found.status == 0:
            best = min(best, found.fun + float((w2 * active) @ b1) + b2)
    return best


def exact_logits(module: nn.Sequential, point: Tensor) -> list[Fraction]:
    """Logits of a dense network in rational arithmetic."""
    values = [Fraction(v) for v in point.flatten().tolist()]
    for layer in module:
        if isinstance(layer, nn.Linear):
            rows, biases = layer.weight.tolist(), layer.bias.tolist()
            values = [
                sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(bias))
                for row, bias in zip(rows, biases, strict=True)
            ]
        elif isinstance(layer, nn.ReLU):
            values = [max(v, Fraction(0)) for v in values]
    return values
