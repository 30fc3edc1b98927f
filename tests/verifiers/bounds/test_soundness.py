"""No point of the ball may fall below a bound: sampling, corners, and exact optima by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import convolutional, dense, exact_minimum, graph_for, margins_at, points_in
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.bounds.plans import PLANS, Plan
from verifiers.bounds.relaxations.relu import ONE, ZERO

ALL_PLANS = {**PLANS, "zero": Plan(ZERO, intermediate=True), "one": Plan(ONE, intermediate=True)}
BALLS = [
    Ball("linf", 0.1, 0.0, 1.0), Ball("linf", 0.05), Ball("linf", 0.3, 0.2, None), Ball("linf", 0.0),
    Ball("l2", 0.4, 0.0, 1.0), Ball("l2", 0.3), Ball("l2", 0.5, None, 0.7),
    Ball("l1", 1.0, 0.0, 1.0), Ball("l1", 0.8), Ball("l1", 3.0, 0.1, 0.9),
]  # fmt: skip


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_bounds_hold_on_a_convolutional_network(ball: Ball) -> None:
    module = convolutional(seed=1)
    graph = graph_for(module, (2, 6, 6))
    low, high = ball.low or 0.0, 1.0 if ball.high is None else ball.high
    x = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(2)) * (high - low) + low
    labels = torch.tensor([0, 2, 3])
    clouds = [points_in(x[i], ball, 1200, seed=i) for i in range(3)]
    for name, plan in ALL_PLANS.items():
        bounds = margin_bounds(graph, x, labels, ball, plan)
        inputs = preactivation_bounds(graph, x, ball, plan)
        for i, cloud in enumerate(clouds):
            reached = margins_at(module, cloud, int(labels[i])).amin(dim=0)
            assert bool((bounds[i] <= reached).all()), name
            values = graph.values(cloud)
            for (lower, upper), relu in zip(inputs, graph.relus, strict=True):
                value = values[graph.nodes[relu].inputs[0]]
                assert bool((lower[i] <= value.amin(dim=0)).all()), name
                assert bool((upper[i] >= value.amax(dim=0)).all()), name


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), radius=st.floats(0.0, 1.0), scale=st.sampled_from([0.3, 1.0, 3.0]))
def test_never_above_the_exact_optimum(seed: int, radius: float, scale: float) -> None:
    module = dense([2, 4, 3], seed, scale)
    x = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    graph = graph_for(module, (2,))
    direction = np.eye(3)
    bounds = {
        name: margin_bounds(graph, x, torch.tensor([1]), Ball("linf", radius), p) for name, p in ALL_PLANS.items()
    }
    for other in (0, 2):
        exact = exact_minimum(module, x[0].numpy(), radius, direction[1] - direction[other])
        for name, bound in bounds.items():
            assert float(bound[0, other]) <= exact + 1e-9, name


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), cut=st.booleans())
def test_sampling_deep_networks(seed: int, norm: str, cut: bool) -> None:
    module = dense([3, 6, 5, 6, 3], seed, 1.5)
    ball = Ball(norm, 0.3, 0.0, 1.0) if cut else Ball(norm, 0.3)  # type: ignore[arg-type]
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reached = margins_at(module, points_in(x[0], ball, 2000, seed), 0).amin(dim=0)
    graph = graph_for(module, (3,))
    for name, plan in ALL_PLANS.items():
        assert bool((margin_bounds(graph, x, torch.tensor([0]), ball, plan)[0] <= reached).all()), name


def test_linear_networks_are_bounded_exactly() -> None:
    module = dense([5, 3], seed=3)
    graph, x = graph_for(module, (5,)), torch.rand(4, 5, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1])
    weight, bias = module[0].weight.detach(), module[0].bias.detach()
    for ball, order in ((Ball("linf", 0.2), 1.0), (Ball("l2", 0.2), 2.0), (Ball("l1", 0.2), torch.inf)):
        for plan in PLANS:
            found = margin_bounds(graph, x, labels, ball, plan)
            for i, j in itertools.product(range(4), range(3)):
                y = int(labels[i])
                row = weight[y] - weight[j]
                exact = row @ x[i] + bias[y] - bias[j] - 0.2 * torch.linalg.vector_norm(row, ord=order)
                assert float(found[i, j]) == pytest.approx(float("inf") if j == y else float(exact), abs=1e-13)


def test_zero_radius_gives_the_clean_margin() -> None:
    module = convolutional(seed=4)
    graph, x = graph_for(module, (2, 6, 6)), torch.rand(2, 2, 6, 6, dtype=torch.float64)
    for norm in ("linf", "l2", "l1"):
        for plan in ALL_PLANS.values():
            found = margin_bounds(graph, x, torch.tensor([1, 1]), Ball(norm, 0.0), plan)  # type: ignore[arg-type]
            clean = margins_at(module, x, 1)
            assert bool((found <= clean).all())
            assert torch.allclose(found, clean, atol=1e-10)
