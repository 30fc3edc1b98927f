"""Chains as sparse matrices: the same function, and honest about what composing rounds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from sokbench.core.errors import Unsupported
from tests.verifiers.graph.readers.test_from_torch import MODULES, Residual, randomize
from verifiers.graph import trace
from verifiers.graph.convolution import AvgPool2d, Conv2d
from verifiers.graph.rewriting.affine import affine_relu_layers, as_matrix
from verifiers.graph.rewriting.simplify import simplify


@pytest.mark.parametrize("name", ["mlp", "norm first", "strided", "pooled"])
def test_layers_compute_the_network(name: str) -> None:
    module, shape = MODULES[name]
    graph = simplify(trace(randomize(module), shape))
    x = torch.randn(shape, dtype=torch.float64)
    value = x.flatten().numpy()
    layers = affine_relu_layers(graph)
    for layer in layers[:-1]:
        value = np.maximum(layer.weight @ value + layer.bias, 0.0)
    value = layers[-1].weight @ value + layers[-1].bias
    assert np.allclose(value, graph.forward(x[None])[0].numpy(), atol=1e-12)
    assert len(layers) == len(graph.relus) + 1


def test_plain_layers_are_exact() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    layers = affine_relu_layers(simplify(trace(module, (2, 3))))
    assert np.array_equal(layers[0].weight.toarray(), module[1].weight.detach().double().numpy())
    assert np.array_equal(layers[1].bias, module[3].bias.detach().double().numpy())
    assert all(layer.weight_error == layer.bias_error == 0.0 for layer in layers)


OPERATIONS = {
    "strided": Conv2d(torch.randn(4, 4, 3, 2).double(), torch.randn(4).double(), (2, 1), (1, 2), (1, 2)),
    "plain": Conv2d(torch.randn(3, 4, 3, 2).double(), torch.randn(3).double()),
    "groups": Conv2d(torch.randn(6, 2, 3, 2).double(), torch.randn(6).double(), (1, 2), (0, 1), groups=2),
    "average": AvgPool2d((3, 2), (2, 2), (1, 0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_convolutions_as_matrices(name) -> None:
    op, shape = OPERATIONS[name], (4, 7, 6)
    x = torch.randn(1, *shape, dtype=torch.float64)
    out_shape = tuple(op.forward(x).shape[1:])
    layer = as_matrix(op, shape, out_shape)
    identity = torch.eye(len(layer.bias), dtype=torch.float64).reshape(-1, *out_shape)
    assert np.array_equal(layer.weight.toarray(), op.adjoint(identity, shape).flatten(1).numpy())
    assert np.allclose(layer.weight @ x[0].flatten().numpy() + layer.bias, op.forward(x)[0].flatten().numpy())
    assert layer.weight.has_sorted_indices


def test_composed_layers_state_an_error_that_holds() -> None:
    torch.manual_seed(0)
    first, second = (nn.Linear(*sizes, dtype=torch.float64) for sizes in ((5, 6), (6, 4)))
    (layer,) = affine_relu_layers(simplify(trace(nn.Sequential(first, second), (5,))))
    exact_weight, exact_bias = compose(second, first)
    weight_gap = [
        sum(abs(Fraction(float(layer.weight.toarray()[j, i])) - exact_weight[j][i]) for i in range(5)) for j in range(4)
    ]
    bias_gap = [abs(Fraction(float(layer.bias[j])) - exact_bias[j]) for j in range(4)]
    assert 0 < max(weight_gap) <= Fraction(layer.weight_error)
    assert 0 < max(bias_gap) <= Fraction(layer.bias_error)
    assert layer.weight_error < 1e-12


def compose(after: nn.Linear, before: nn.Linear) -> tuple[list[list[Fraction]], list[Fraction]]:
    w2, w1 = ([[Fraction(v) for v in row] for row in layer.weight.tolist()] for layer in (after, before))
    b2, b1 = ([Fraction(v) for v in layer.bias.tolist()] for layer in (after, before))
    weight = [[sum(row[k] * w1[k][i] for k in range(len(w1))) for i in range(len(w1[0]))] for row in w2]
    return weight, [sum(row[k] * b1[k] for k in range(len(w1))) + b for row, b in zip(w2, b2, strict=True)]


def test_branches_are_refused_and_a_final_relu_is_not() -> None:
    with pytest.raises(Unsupported, match="branches"):
        affine_relu_layers(simplify(trace(randomize(Residual()), (2, 6, 6))))
    layers = affine_relu_layers(simplify(trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (3,))))
    assert np.array_equal(layers[-1].weight.toarray(), np.eye(2))
