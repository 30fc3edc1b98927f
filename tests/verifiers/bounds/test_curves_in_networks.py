"""Networks of every activation and of products and maxima: no point of the ball is below a bound, of any plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for, margins_at, points_in
from verifiers.bounds import margin_bounds
from verifiers.bounds.plans import PLANS
from verifiers.bounds.sets.inputs import InputSet
from verifiers.bounds.sets.sparse import Sparse
from verifiers.graph.graph import Graph


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, dim=-1)


def gated(x: Tensor) -> Tensor:
    return x[:, ::2] * torch.sigmoid(x[:, 1::2])


def larger(x: Tensor) -> Tensor:
    return torch.maximum(x[:, ::2], x[:, 1::2])


def attended(x: Tensor) -> Tensor:
    pairs = x.unflatten(1, (-1, 2))
    return nn.functional.scaled_dot_product_attention(pairs, pairs, pairs, is_causal=True).flatten(1)


def positive(x: Tensor) -> Tensor:
    return torch.sqrt(torch.exp(x) + 0.1) + torch.log(torch.nn.functional.softplus(x) + 0.2)


ACTIVATIONS: dict[str, nn.Module] = {
    "leaky_relu": nn.LeakyReLU(0.1),
    "abs": Lambda(torch.abs),
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "arctan": Lambda(torch.atan),
    "softplus": nn.Softplus(2.0),
    "elu": nn.ELU(0.7),
    "selu": nn.SELU(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "square": Lambda(torch.square),
    "softmax": Lambda(softmax),
    "gated": Lambda(gated),
    "erf": Lambda(torch.erf),
    "attended": Lambda(attended),
    "maximum": Lambda(larger),
    "sqrt_log_exp": Lambda(positive),
    "layer_norm": nn.LayerNorm(8),
}


def network(name: str) -> tuple[nn.Module, Graph, Tensor, int]:
    torch.manual_seed(5)
    width = 4 if name in ("gated", "maximum") else 8
    activation = ACTIVATIONS[name]
    module = nn.Sequential(nn.Linear(5, 8), activation, nn.Linear(width, 8), activation, nn.Linear(width, 3)).double()
    x = torch.rand(1, 5, dtype=torch.float64)
    return module, graph_for(module, (5,)), x, int(module(x).argmax())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_margins_are_sound(name: str) -> None:
    module, graph, x, label = network(name)
    for ball, plans in ((Ball("linf", 0.4), PLANS), (Ball("l2", 0.1), ["crown"]), (Ball("linf", 1e-6), ["crown"])):
        truth = margins_at(module, points_in(x[0], ball, 400), label).amin(dim=0)
        for plan in plans:
            found = margin_bounds(graph, x, torch.tensor([label]), ball, plan)[0]
            assert bool((found <= truth + 1e-13).all()), (plan, ball)
    assert bool((found >= truth - 1e-3)[found.isfinite()].all())


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "silu", "selu", "leaky_relu", "softmax", "gated"])
def test_tighter_input_bounds_pay(name: str) -> None:
    """CROWN beats its version with interval bounds of hidden layers, and intervals."""
    _, graph, x, label = network(name)
    ball = Ball("linf", 0.05)
    means = []
    for plan in ("ibp", "crown_ibp", "crown"):
        found = margin_bounds(graph, x, torch.tensor([label]), ball, plan)
        means.append(float(found[found.isfinite()].mean()))
    assert means[0] < means[1] <= means[2] + 1e-9


def test_any_input_set_goes_through_the_same_door() -> None:
    module, graph, x, label = network("sigmoid")
    inputs: InputSet = Sparse(x, 2, 0.0, 1.0)
    found = margin_bounds(graph, x, torch.tensor([label]), inputs)[0]
    generator = torch.Generator().manual_seed(0)
    points = x.repeat(500, 1)
    for row in points:
        places = torch.randperm(5, generator=generator)[:2]
        row[places] = torch.randint(0, 2, (2,), generator=generator).double()
    assert bool((found <= margins_at(module, points, label)).all())
