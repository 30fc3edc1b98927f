"""Networks with counterexamples planted by construction: narrow bumps that sampling and gradients do not find, and sums
that floating point loses. What they are is known exactly, whatever a verifier says."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network

PEAK, WIDTH = 0.7321, 2.0**-12


def _linear(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return layer


def _bump_layer(inputs: int, height: float) -> list[nn.Module]:
    """x -> height * (1 - |x_0 - PEAK| / WIDTH) for x_0 within WIDTH of PEAK, else 0; other inputs have no influence."""
    row = [1.0] + [0.0] * (inputs - 1)
    scale = height / WIDTH
    shifts = [-(PEAK - WIDTH), -PEAK, -(PEAK + WIDTH)]
    return [_linear([row] * 3, shifts), nn.ReLU(), _linear([[scale, -2 * scale, scale]], [0.0])]


def _identity_layers(depth: int) -> list[nn.Module]:
    """Keeps values >= 0, through `depth` ReLUs."""
    return [part for _ in range(depth) for part in (nn.ReLU(), _linear([[1.0]], [0.0]))]


def _classifier(threshold: float) -> nn.Linear:
    """Logits (threshold, value)."""
    return _linear([[0.0], [1.0]], [threshold, 0.0])


def relu_bump(depth: int) -> nn.Module:
    return nn.Sequential(*_bump_layer(2, 2.0), *_identity_layers(depth), _classifier(1.0))


def deep_entry_bump(depth: int) -> nn.Module:
    """The bump sits behind layers that pass the input on."""
    passes = [part for _ in range(depth) for part in (_linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), nn.ReLU())]
    return nn.Sequential(*passes, *_bump_layer(2, 2.0), nn.ReLU(), _classifier(1.0))


def sigmoid_bump() -> nn.Module:
    """sigmoid(k (x - PEAK) + 4) - sigmoid(k (x - PEAK) - 4): about 0.96 at the peak, 0 elsewhere."""
    k = 64.0 / WIDTH
    first = _linear([[k, 0.0], [k, 0.0]], [-k * PEAK + 4.0, -k * PEAK - 4.0])
    return nn.Sequential(first, nn.Sigmoid(), _linear([[1.0, -1.0]], [0.0]), _classifier(0.5))


class MaxPoolBump(nn.Module):
    """The larger of two bumps by a max pool over a window that holds both."""

    def __init__(self) -> None:
        super().__init__()
        self.bump = nn.Sequential(*_bump_layer(2, 2.0))
        self.other = _linear([[0.1, 0.0]], [0.0])
        self.pool = nn.MaxPool2d((1, 2))
        self.last = _classifier(1.0)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.bump(x), self.other(x)], dim=1)
        pooled: Tensor = self.pool(both.reshape(-1, 1, 1, 2)).flatten(1)
        logits: Tensor = self.last(pooled)
        return logits


def lost_sum(exponent: int) -> nn.Module:
    """f_0 - f_1 = (2^e + s) - 2^e - 3/4 with s = relu(x_0) <= 1/2: always negative, but floats may lose s."""
    big = 2.0**exponent
    return nn.Sequential(
        _linear([[1.0, 0.0], [0.0, 0.0]], [0.0, 1.0]), nn.ReLU(),
        _linear([[1.0, big], [0.0, big]], [0.0, 0.0]), nn.ReLU(),
        _linear([[1.0, -1.0], [0.0, 0.0]], [0.0, 0.75]),
    )  # fmt: skip


BUMPS: dict[str, Callable[[], nn.Module]] = {
    **{f"bump, {depth} layers above": (lambda depth=depth: relu_bump(depth)) for depth in (0, 1, 4)},
    **{f"bump, {depth} layers below": (lambda depth=depth: deep_entry_bump(depth)) for depth in (1, 3)},
    "sigmoid bump": sigmoid_bump,
    "bump in a max pool": MaxPoolBump,
}


def bump_problem(name: str, norm: str) -> tuple[Problem, Tensor]:
    """(problem, a counterexample that is certain to be one); the input itself is classified correctly."""
    network = load_network(BUMPS[name](), (2,))
    x, peak = torch.tensor([0.5, 0.5]), torch.tensor([PEAK, 0.5])
    radius = 1.0 if norm == "l0" else 0.25
    return Problem(network, x, 0, Ball(norm, radius, 0.0, 1.0)), peak  # type: ignore[arg-type]


def lost_problem(exponent: int) -> Problem:
    return Problem(load_network(lost_sum(exponent), (2,)), torch.tensor([0.25, 0.25]), 0, Ball("linf", 0.25))
