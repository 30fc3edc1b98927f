"""Graphs traced from torch modules compute what the modules compute, and say what they cannot take."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.errors import Unsupported
from sokbench.core.network import Network
from verifiers.graph import graph_of, trace
from verifiers.graph.convolution import Conv2d
from verifiers.graph.elementwise import Relu
from verifiers.graph.linear import Linear
from verifiers.graph.ops import BatchNorm
from verifiers.graph.rewriting.simplify import simplify


class Residual(nn.Module):
    """Functional calls, a buffer, a skip connection, sizes read from the tensor, a module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 9, 3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("mean", torch.tensor([0.4, 0.6]).reshape(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.first((x - self.mean) / 0.25)))
        y = torch.relu(self.second(y) + y)
        y = torch.relu(self.second(2.0 * y) - y)
        y = torch.nn.functional.avg_pool2d(y, 2)
        return self.head(self.drop(y.view(y.size(0), -1)))


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (part.weight.data, part.bias.data, part.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.1)
    return module.eval()


MODULES = {
    "residual": (Residual(), (2, 6, 6)),
    "mlp": (nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), (2, 4)),
    "norm first": (nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(50, 3)), (2, 5, 5)),
    "strided": (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2, 1),
            nn.Conv2d(6, 4, (2, 1), dilation=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(60, 2),
        ),
        (3, 11, 11),
    ),
    "pooled": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(3, 2)),
        (1, 6, 6),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_graph_equals_module(name: str) -> None:
    module, shape = MODULES[name]
    module = randomize(module)
    x = torch.randn(4, *shape)
    graph = trace(module, shape)
    assert torch.allclose(graph.forward(x), module(x), atol=1e-5)
    exact = simplify(graph)
    reference = copy.deepcopy(module).double()(x.double())
    assert torch.allclose(exact.forward(x.double()), reference, rtol=1e-13, atol=1e-13)
    assert not any(isinstance(node.op, BatchNorm) for node in exact.nodes)
    assert tuple(exact.forward(x.double()).shape[1:]) == exact.nodes[-1].shape


def test_batch_norm_is_folded_and_counted() -> None:
    module = randomize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    ops = [node.op for node in simplify(trace(module, (1, 4, 4))).nodes]
    assert [type(op).__name__ for op in ops] == ["Input", "Conv2d", "Relu", "Reshape", "Linear"]
    assert isinstance(ops[1], Conv2d)
    assert ops[1].rounded == 2
    assert isinstance(ops[-1], Linear)
    assert ops[-1].rounded == 0


def test_batch_norm_after_a_shared_layer_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return self.norm(y) + y

    module = randomize(Shared())
    x = torch.randn(5, 3)
    graph = simplify(trace(module, (3,)))
    assert torch.allclose(graph.forward(x.double()), module(x).double(), atol=1e-5)


def test_traced_parameters_are_live_and_the_network_graph_is_not() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    graph = trace(module, (3,))
    network = Network("live", module, (3,), 2, "")
    before = graph_of(network).forward(torch.ones(1, 3).double())
    with torch.no_grad():
        module[0].weight.add_(1.0)
    assert torch.equal(graph.forward(torch.ones(1, 3)), module(torch.ones(1, 3)))
    assert torch.equal(graph_of(network).forward(torch.ones(1, 3).double()), before)
    assert graph_of(network) is graph_of(network)


def test_parameters_of_normalizations_and_products_are_live() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.weight = nn.LayerNorm(4), nn.Parameter(torch.randn(4, 3))
            self.conv, self.shift = nn.Conv1d(1, 2, 2), nn.Parameter(torch.randn(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv((self.norm(x) @ self.weight).unsqueeze(1)) + self.shift).flatten(1)

    module = Mixed()
    graph = trace(module, (4,))
    x = torch.randn(5, 4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape))
    assert torch.allclose(graph.in_type(torch.float32).forward(x), module(x), atol=1e-5)
    graph.in_type(torch.float32).forward(x).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_tracing_restores_every_mode() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    module[1].eval()
    trace(module, (3,))
    assert [part.training for part in module.modules()] == [True, True, False]


class Applied(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.special.i0, "'special_i0' at special_i0"),
        (lambda y: y.reshape(-1), "batch"),
        (lambda y: y.reshape(2, -1), "cannot trace|batch"),
        (lambda y: torch.softmax(y, 0), "batch"),
        (lambda y: torch.softmax(y.T, 1), "batch"),
        (lambda y: torch.relu(y.reshape(-1)).reshape(-1, 4), "batch"),
        (lambda y: nn.functional.linear(y.T, torch.ones(2, y.shape[0])).T, "batch|cannot trace"),
        (lambda y: torch.cat([y.T, y.T]).T, "batch"),
        (lambda y: torch.bmm(y.reshape(4, -1, 1), y.reshape(4, 1, -1)).reshape(-1, 28), "batch|cannot trace"),
        (lambda y: y - y.mean(0), "batch"),
        (lambda y: y.sort(1).values, "'sort' at sort"),
        (lambda y: y.max(1).indices.float() * y.sum(1), "not known"),
        (lambda y: y**2.5, "the power 2.5"),
        (lambda y: nn.functional.celu(y), "'celu' at celu is not known; in terms of others: .*'expm1'"),
        (lambda y: y.masked_fill(torch.tensor([True, False, False, True]), -torch.inf), "infinite"),
        (lambda y: y if y.sum() > 0 else -y, "cannot trace"),
    ],
)
def test_what_is_not_known_is_named(function: object, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        trace(Applied(function), (4,))


class InPlace(nn.Module):
    """A view is changed in place and the tensor behind it is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        flat = y.view(y.size(0), -1)
        torch.relu_(flat)
        return self.head(flat + y.flatten(1))


def test_changes_in_place_reach_every_name_of_a_tensor() -> None:
    module = randomize(InPlace())
    x = torch.randn(4, 1, 4, 4)
    assert torch.allclose(trace(module, (1, 4, 4)).forward(x), module(x), atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: nn.functional.dropout(y, 0.5, training=True),
        lambda y: y + torch.rand(4),
        lambda y: torch.div(y, 2.0, rounding_mode="floor"),
        lambda y: y + torch.arange(7.0)[:, None],
        lambda y: y.reshape(-1, 1, 4).transpose(0, 1),
        lambda y: (y, y),
        lambda y: nn.functional.linear(y, y),
    ],
)
def test_options_that_change_the_meaning_are_refused(function: object) -> None:
    with pytest.raises(Unsupported):
        trace(Applied(function), (4,))


def test_unknown_operation_says_in_which_layer() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Hardshrink()), nn.Linear(3, 2))
    with pytest.raises(Unsupported, match=r"'hardshrink' at 1\.0"):
        trace(module, (3,))


def test_relus_are_listed_in_order() -> None:
    graph = trace(randomize(Residual()), (2, 6, 6))
    assert len(graph.relus) == 3
    assert all(isinstance(graph.nodes[index].op, Relu) for index in graph.relus)
