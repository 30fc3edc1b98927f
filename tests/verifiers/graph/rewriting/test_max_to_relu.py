"""Networks without maxima: the same function, with ReLUs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.verifiers.graph.test_modules import Function
from verifiers.graph import trace
from verifiers.graph.bivariate import Bivariate
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.rewriting.max_to_relu import max_to_relu
from verifiers.graph.rewriting.simplify import simplify

POOLED = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "max pool": (POOLED, (1, 6, 6)),
    "leaky": (nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.1), nn.Linear(5, 2)), (4,)),
    "relu6": (nn.Sequential(nn.Linear(4, 5), nn.ReLU6(), nn.Linear(5, 2)), (4,)),
    "absolute": (Function(lambda x: x.abs() - x.clamp(-0.3, 0.7)), (4,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_function_is_the_same(name: str) -> None:
    module, shape = MODULES[name]
    graph = simplify(trace(module, shape))
    rewritten = max_to_relu(graph)
    x = 3 * torch.randn(16, *shape, dtype=torch.float64)
    assert torch.allclose(rewritten.forward(x), graph.forward(x), rtol=1e-13, atol=1e-13)
    nonlinear = [node.op for node in rewritten.nodes if isinstance(node.op, (Elementwise, Bivariate))]
    assert nonlinear
    assert all(isinstance(op, Relu) for op in nonlinear)
    assert all(tuple(v.shape[1:]) == n.shape for v, n in zip(rewritten.values(x), rewritten.nodes, strict=True))


def test_a_graph_without_maxima_is_returned_as_it_is() -> None:
    graph = simplify(trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sigmoid()), (2,)))
    assert max_to_relu(graph) is graph
