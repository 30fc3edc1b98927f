"""Operator norms are upper bounds, close to the truth; the margins they give are sound."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sokbench
from tests.verifiers.bounds.nets import convolutional, dense, graph_for, margins_at, points_in
from verifiers.graph.graph import Graph
from verifiers.lipschitz.norms import largest_singular_value, operator_norm
from verifiers.lipschitz.op_norm import lipschitz, pairwise_constants

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}


def matrix(graph: Graph, index: int) -> np.ndarray:
    shape = graph.nodes[graph.nodes[index].inputs[0]].shape
    size = int(np.prod(shape))
    op = graph.nodes[index].op
    return op.linear(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, -1).T.numpy()  # type: ignore[attr-defined]


CONVOLUTIONS = {
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 4, "stride": 2, "padding": 1},
    "unpadded": {"kernel_size": 3, "stride": 2},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "oblong": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)},
    "grouped": {"kernel_size": 3, "groups": 2, "padding": 1},
    "stride beyond kernel": {"kernel_size": 2, "stride": 3},
}


@pytest.mark.parametrize("norm", ORDERS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, norm: str) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        layer = nn.Conv2d(4, 6, **CONVOLUTIONS[name])  # type: ignore[arg-type]
        graph = graph_for(nn.Sequential(layer, nn.Flatten()), (4, 8, 9))
        exact = np.linalg.norm(matrix(graph, 1), ORDERS[norm])
        found = operator_norm(graph, 1, norm)
        assert exact * (1 - 1e-12) <= found <= exact * (1.2 if norm == "l2" else 1 + 1e-9)
        assert norm == "l2" or found >= exact


@pytest.mark.parametrize("norm", ORDERS)
def test_other_operations(norm: str) -> None:
    torch.manual_seed(0)
    modules = [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2), nn.BatchNorm2d(4).eval(), nn.Flatten(), nn.Linear(9, 5)]
    for module in modules:
        graph = graph_for(nn.Sequential(module, nn.Flatten()), (4, 8, 9))
        exact = np.linalg.norm(matrix(graph, 1), ORDERS[norm])
        assert exact * (1 - 1e-12) <= operator_norm(graph, 1, norm) <= exact * 1.2 * (9 if module is modules[-1] else 1)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), columns=st.integers(1, 12), power=st.integers(-60, 60))
def test_singular_values_are_bounded_above(seed: int, rows: int, columns: int, power: int) -> None:
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.0**power
    found = largest_singular_value(values[None])
    with mpmath.workdps(40):
        exact = max(mpmath.svd_r(mpmath.matrix(values.tolist()), compute_uv=False))
        assert exact <= mpmath.mpf(found) <= exact * 1.02


def test_singular_values_of_special_matrices() -> None:
    assert largest_singular_value(torch.zeros(1, 3, 3, dtype=torch.float64)) < 1e-100
    assert 1.0 <= largest_singular_value(torch.eye(64, dtype=torch.float64)[None]) < 1.02
    ones = torch.ones(1, 50, 50, dtype=torch.float64)
    assert 50.0 <= largest_singular_value(ones) < 50.0 * (1 + 1e-9)
    several = torch.stack([torch.eye(4), 7 * torch.eye(4), torch.zeros(4, 4)]).to(torch.complex128)
    assert 7.0 <= largest_singular_value(several) < 7.2


@pytest.mark.parametrize("norm", ORDERS)
def test_margins_hold_at_sampled_points(norm: str) -> None:
    module = convolutional(seed=0)
    network = sokbench.load_network(module.float(), input_shape=(2, 6, 6))
    verifier = sokbench.method("op_norm")
    verifier.prepare(network)
    module = module.double()
    x, labels = torch.rand(3, 2, 6, 6), torch.tensor([0, 1, 3])
    for radius in (0.0, 0.01, 0.3):
        ball = sokbench.Ball(norm, radius)  # type: ignore[arg-type]
        found = verifier.margins(network, x, labels, ball)  # type: ignore[attr-defined]
        assert bool((found.gather(1, labels[:, None]) == torch.inf).all())
        for i in range(3):
            reached = margins_at(module, points_in(x[i], ball, 1000, i), int(labels[i])).amin(dim=0)
            assert bool((found[i] <= reached).all())
    assert verifier.info.uses_box is False


@pytest.mark.parametrize("norm", ORDERS)
def test_constants_bound_the_gradient(norm: str) -> None:
    """The dual norm of the gradient of a margin is a lower bound of its Lipschitz constant."""
    module = dense([4, 10, 10, 3], 2)
    graph = graph_for(module, (4,))
    constants = pairwise_constants(graph, norm)
    assert bool((constants.diagonal() < 1e-9).all())
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    for point in torch.randn(50, 4, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda v: module(v[None])[0], point)
        gaps = torch.linalg.vector_norm(jacobian[:, None] - jacobian[None], ord=dual, dim=2)
        assert bool((gaps <= constants).all())


def test_one_layer_is_exact_and_depth_multiplies() -> None:
    single = nn.Linear(4, 3, dtype=torch.float64)
    weight = single.weight.detach()
    constants = pairwise_constants(graph_for(nn.Sequential(single), (4,)), "l2")
    assert float(constants[0, 1]) == pytest.approx(float((weight[0] - weight[1]).norm()), rel=1e-12)
    module = dense([4, 5, 3], 0)
    graph = graph_for(module, (4,))
    expected = float(torch.linalg.matrix_norm(module[0].weight.detach(), torch.inf))
    assert lipschitz(graph, 1, "linf") == pytest.approx(expected, rel=1e-12)
    assert lipschitz(graph, 2, "linf") == lipschitz(graph, 1, "linf")
