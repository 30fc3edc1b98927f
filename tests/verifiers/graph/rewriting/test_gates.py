"""SiLU and GELU are recognized where they were written as products, and nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from verifiers.graph import trace
from verifiers.graph.graph import Graph
from verifiers.graph.rewriting.simplify import simplify


class Activated(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.function(self.first(x)))
        return found


def traced(function: Callable[[Tensor], Tensor]) -> tuple[Graph, Graph]:
    """(as traced in float64, simplified)."""
    torch.manual_seed(0)
    graph = trace(Activated(function).double(), (3,))
    return graph, simplify(graph)


ROOT = math.sqrt(2)
GATED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "silu": (lambda x: x * torch.sigmoid(x), "silu"),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), "silu"),
    "gate first": (lambda x: torch.sigmoid(-2 * x) * (3 * x), "silu"),
    "half of a gate": (lambda x: x * (0.5 * torch.sigmoid(x)), "silu"),
    "gelu": (lambda x: x * (1 + torch.erf(x / ROOT)) * 0.5, "gelu"),
    "half first": (lambda x: 0.5 * x * (torch.erf(x / ROOT) + 1), "gelu"),
    "half inside": (lambda x: x * (0.5 * torch.erf(x * 0.7) + 0.5), "gelu"),
}


@pytest.mark.parametrize("name", GATED)
def test_gates_become_one_curve(name: str) -> None:
    function, curve = GATED[name]
    before, after = traced(function)
    x = 5 * torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    names = [node.op.name for node in after.nodes]
    assert curve in names
    assert "mul" not in names
    torch.testing.assert_close(after.forward(x), before.forward(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flip(-1) * torch.sigmoid(x),
        lambda x: (x + 1) * torch.sigmoid(x),
        lambda x: x * (1 + 1e-7 + torch.erf(x)),
        lambda x: x * (1 - torch.erf(x)),
        lambda x: x * (1 + torch.sigmoid(x)),
        lambda x: x * torch.sigmoid(x + 0.5),
    ],
)
def test_other_products_stay(function: Callable[[Tensor], Tensor]) -> None:
    before, after = traced(function)
    assert "mul" in [node.op.name for node in after.nodes]
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.forward(x), before.forward(x), rtol=1e-13, atol=1e-13)


def test_a_factor_that_is_used_elsewhere_is_kept() -> None:
    before, after = traced(lambda x: x * torch.sigmoid(x) + torch.sigmoid(x))
    names = [node.op.name for node in after.nodes]
    assert names.count("silu") == names.count("sigmoid") == 1
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.forward(x), before.forward(x), rtol=1e-13, atol=1e-13)
