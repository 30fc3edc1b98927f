"""Fast-Lip and RecurJac: bounds of gradients hold at every point, margins are sound, both are exact where they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from sokbench.core.method import BoundingVerifier
from sokbench.core.network import Network
from tests.verifiers.bounds.nets import (
    convolutional,
    dense,
    exact_logits,
    exact_minimum,
    graph_for,
    margins_at,
    points_in,
)
from tests.verifiers.bounds.test_rounding import DECEIVERS
from verifiers.bounds.sets.inputs import Interval
from verifiers.graph.elementwise import Arctan, LeakyRelu, Relu, Sigmoid, Tanh
from verifiers.graph.graph import Node
from verifiers.lipschitz import interval_jacobian, recursive_jacobian
from verifiers.lipschitz.jacobian import activation_intervals, slope_range

METHODS = ["fastlip", "recurjac"]
BALLS = [
    sokbench.Ball("linf", 0.05), sokbench.Ball("linf", 0.3, 0.0, 1.0), sokbench.Ball("l2", 0.2, 0.0, 1.0),
    sokbench.Ball("l1", 0.5), sokbench.Ball("l1", 0.5, 0.0, 1.0), sokbench.Ball("l2", 0.3),
]  # fmt: skip


def method(slug: str) -> BoundingVerifier:
    built = sokbench.method(slug)
    assert isinstance(built, BoundingVerifier)
    return built


def in_float64(module: nn.Module, shape: tuple[int, ...]) -> Network:
    """A network that keeps its float64 weights."""
    return Network("test", module, shape, 3, "none")


def chain(seed: int) -> nn.Sequential:
    """Convolutions with a pool between them; inputs (1, 6, 6)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3),
    ).double()  # fmt: skip


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), ball=st.sampled_from(BALLS))
def test_margins_and_gradients_at_sampled_points(seed: int, ball: sokbench.Ball) -> None:
    for module, shape in ((dense([3, 6, 5, 6, 3], seed, 1.5), (3,)), (chain(seed), (1, 6, 6))):
        x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        cloud = points_in(x[0], ball, 300, seed)
        reached = margins_at(module, cloud, 1).amin(dim=0)
        network, labels = in_float64(module, shape), torch.tensor([1])
        graph = graph_for(module, shape)
        points = cloud.clone().requires_grad_()
        values = module(points)
        for slug, bound in (("fastlip", interval_jacobian), ("recurjac", recursive_jacobian)):
            assert bool((method(slug).margins(network, x, labels, ball)[0] <= reached).all()), slug
            intervals = activation_intervals(graph, x, ball, "crown", Deadline())
            low, high = bound.gradient_bounds(graph, intervals, labels, Deadline())
            for place, other in enumerate((0, 2)):
                (gradient,) = torch.autograd.grad((values[:, 1] - values[:, other]).sum(), points, retain_graph=True)
                assert bool((low[0, place] <= gradient + 1e-13).all()), slug
                assert bool((gradient <= high[0, place] + 1e-13).all()), slug


@pytest.mark.parametrize("slug", METHODS)
@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh()], ids=["leaky", "sigmoid", "tanh"])
def test_other_activations(activation: nn.Module, slug: str) -> None:
    for seed in range(3):
        module = dense([3, 6, 5, 6, 3], seed, 2.0)
        module = nn.Sequential(*(activation if isinstance(layer, nn.ReLU) else layer for layer in module))
        x = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        network, labels = in_float64(module, (3,)), torch.tensor([0, 2])
        for ball in BALLS[:3]:
            found = method(slug).margins(network, x, labels, ball)
            exact = margins_at(module, x[:1], 0)
            clean = method(slug).margins(network, x, labels, sokbench.Ball("linf", 0.0))
            assert torch.allclose(clean[:1], exact, atol=1e-10)
            for sample, label in enumerate(labels.tolist()):
                reached = margins_at(module, points_in(x[sample], ball, 400, seed), label).amin(dim=0)
                assert bool((found[sample] <= reached).all())
                assert bool(found[sample].isfinite().sum() == 2)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), radius=st.floats(0.0, 1.0))
def test_never_above_the_exact_optimum(seed: int, radius: float) -> None:
    """One hidden layer; both methods then bound each partial derivative exactly, from the same intervals."""
    module = dense([2, 4, 3], seed)
    network = in_float64(module, (2,))
    x, ball = torch.tensor([[0.2, -0.4]], dtype=torch.float64), sokbench.Ball("linf", radius)
    fastlip, recurjac = (method(slug).margins(network, x, torch.tensor([1]), ball) for slug in METHODS)
    assert torch.allclose(fastlip, recurjac, atol=1e-10)
    for other in (0, 2):
        exact = exact_minimum(module, x[0].numpy(), radius, np.eye(3)[1] - np.eye(3)[other])
        assert float(fastlip[0, other]) <= exact + 1e-9


@pytest.mark.parametrize("slug", METHODS)
def test_exact_where_all_neurons_are_decided(slug: str) -> None:
    """Then the network is affine on the ball, and so are the bounds of Fast-Lin."""
    module = dense([4, 10, 10, 3], 3)
    network = in_float64(module, (4,))
    x, labels = torch.rand(2, 4, dtype=torch.float64), torch.tensor([0, 2])
    for norm in ("linf", "l2", "l1"):
        ball = sokbench.Ball(norm, 1e-5)
        ours, fastlin = (method(name).margins(network, x, labels, ball) for name in (slug, "fastlin"))
        assert torch.allclose(ours, fastlin, atol=1e-12)


def test_recursion_gains_over_intervals() -> None:
    """On a deep network, at a radius where many neurons are undecided."""
    module = dense([4, 20, 20, 20, 3], 1)
    network = in_float64(module, (4,))
    x, labels, ball = torch.rand(8, 4, dtype=torch.float64), torch.arange(8) % 3, sokbench.Ball("linf", 0.02)
    fastlip, recurjac = (method(slug).margins(network, x, labels, ball) for slug in METHODS)
    finite = fastlip.isfinite()
    assert float((recurjac - fastlip)[finite].mean()) > 1e-4


@pytest.mark.parametrize("slug", METHODS)
@pytest.mark.parametrize("name", DECEIVERS)
def test_deceiving_networks_are_never_verified(name: str, slug: str) -> None:
    module, point = DECEIVERS[name]
    x = torch.tensor([point], dtype=torch.float64)
    exact = exact_logits(module, x[0])
    network = in_float64(module, (1,))
    for radius in (0.0, 1e-3):
        bound = method(slug).margins(network, x, torch.tensor([0]), sokbench.Ball("linf", radius))
        assert float(bound[0, 1]) <= float(exact[0] - exact[1]) < 0


SLOPES: dict[str, tuple[nn.Module | None, Callable[[], object]]] = {
    "relu": (nn.ReLU(), Relu),
    "leaky": (nn.LeakyReLU(0.1), lambda: LeakyRelu(0.1)),
    "sigmoid": (nn.Sigmoid(), Sigmoid),
    "tanh": (nn.Tanh(), Tanh),
    "arctan": (None, Arctan),
}


@pytest.mark.parametrize("name", SLOPES)
@settings(max_examples=20)
@given(data=st.data())
def test_slope_ranges(name: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.floats(-30, 30, allow_subnormal=False)) for _ in range(2))
    lower, upper = (torch.tensor([end], dtype=torch.float64) for end in ends)
    op = SLOPES[name][1]()
    low, high = slope_range(Node(op, (0,), (1,)), Interval(lower, upper))  # type: ignore[arg-type]
    points = torch.linspace(0, 1, 101, dtype=torch.float64) * (upper - lower) + lower
    points = points.clamp(lower, upper).requires_grad_()
    (slopes,) = torch.autograd.grad(op.forward(points).sum(), points)  # type: ignore[attr-defined]
    inside = points.detach() != 0
    assert bool((low <= slopes + 1e-15)[inside].all())
    assert bool((slopes <= high + 1e-15)[inside].all())


@pytest.mark.parametrize("slug", METHODS)
def test_refusals(slug: str) -> None:
    residual = sokbench.load_network(convolutional(0).float(), input_shape=(2, 6, 6))
    x, labels = torch.rand(1, 2, 6, 6), torch.tensor([0])
    if slug == "recurjac":
        with pytest.raises(Unsupported, match="branches"):
            method(slug).margins(residual, x, labels, sokbench.Ball("linf", 0.1))
    else:
        ball = sokbench.Ball("linf", 0.01)
        reached = margins_at(convolutional(0), points_in(x[0], ball, 500), 0).amin(dim=0)
        assert bool((method(slug).margins(residual, x, labels, ball)[0] <= reached + 1e-6).all())
    with pytest.raises(Unsupported, match="l0"):
        method(slug).margins(residual, x, labels, sokbench.Ball("l0", 1.0, 0.0, 1.0))
