"""Bounding methods beyond plain plans: sound at sampled points, against exact optima and in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sokbench
from sokbench.core.errors import Unsupported
from sokbench.core.evaluation import in_ball
from sokbench.core.method import BoundingVerifier
from sokbench.core.network import Network
from tests.verifiers.bounds.nets import (
    convolutional,
    dense,
    exact_logits,
    exact_minimum,
    graph_for,
    hostile,
    margins_at,
    points_in,
)
from tests.verifiers.bounds.test_rounding import DECEIVERS, exact_logits_at
from verifiers.bounds import preactivation_bounds
from verifiers.bounds.forward.projection import projection
from verifiers.bounds.sets.inputs import input_set

METHODS = ["wk", "frown", "crown_quad"]
WITH_JACOBIANS = [*METHODS, "fastlip", "recurjac"]


def bound(slug: str, module: nn.Module, x: Tensor, label: int, ball: sokbench.Ball) -> Tensor:
    """Margins (C,) of one input, of a network that keeps its float64 weights."""
    method = sokbench.method(slug)
    assert isinstance(method, BoundingVerifier)
    with torch.no_grad():
        classes = module(x).shape[1]
    return method.margins(Network("test", module, tuple(x.shape[1:]), classes, ""), x, torch.tensor([label]), ball)[0]


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), cut=st.booleans())
def test_sampling(seed: int, norm: str, cut: bool) -> None:
    ball = sokbench.Ball(norm, 0.3, 0.0, 1.0) if cut else sokbench.Ball(norm, 0.3)  # type: ignore[arg-type]
    for module, shape in ((dense([3, 6, 5, 6, 3], seed, 1.5), (3,)), (convolutional(seed), (2, 6, 6))):
        x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        reached = margins_at(module, points_in(x[0], ball, 500, seed), 0).amin(dim=0)
        for slug in METHODS:
            assert bool((bound(slug, module, x, 0, ball) <= reached).all()), slug


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), radius=st.floats(0.0, 1.0), scale=st.sampled_from([0.3, 1.0, 3.0]))
def test_never_above_the_exact_optimum(seed: int, radius: float, scale: float) -> None:
    module = dense([2, 4, 3], seed, scale)
    x = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    exact = {j: exact_minimum(module, x[0].numpy(), radius, np.eye(3)[1] - np.eye(3)[j]) for j in (0, 2)}
    for slug in METHODS:
        found = bound(slug, module, x, 1, sokbench.Ball("linf", radius))
        assert all(float(found[j]) <= exact[j] + 1e-9 for j in exact), slug


@pytest.mark.parametrize("slug", METHODS)
def test_what_cannot_be_done_is_said(slug: str) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)).double()
    x = torch.rand(1, 3, dtype=torch.float64)
    if slug == "frown":  # moves the tangents
        ball = sokbench.Ball("linf", 0.3)
        assert bool((bound(slug, module, x, 0, ball) >= bound("crown", module, x, 0, ball)).all())
    else:
        with pytest.raises(Unsupported, match="sigmoid"):
            bound(slug, module, x, 0, sokbench.Ball("linf", 0.1))
    with pytest.raises(Unsupported, match="l0"):
        bound(slug, dense([3, 4, 2], 0), x, 0, sokbench.Ball("l0", 1.0, 0.0, 1.0))


@pytest.mark.parametrize("name", DECEIVERS)
def test_deceiving_networks_are_never_verified(name: str) -> None:
    module, point = DECEIVERS[name]
    x = torch.tensor([point], dtype=torch.float64)
    exact = exact_logits(module, x[0])
    for slug in METHODS:
        for radius in (0.0, 1e-3):
            found = bound(slug, module, x, 0, sokbench.Ball("linf", radius))
            assert Fraction(float(found[1])) <= exact[0] - exact[1] < 0, slug


@settings(max_examples=6)
@given(data=st.data())
def test_against_rational_arithmetic(data: st.DataObject) -> None:
    """Weights over 30 orders of magnitude; the value at points of the ball, as fractions, never below the bound."""
    module, x = hostile(data.draw(st.integers(0, 10**6)))
    radius = data.draw(st.sampled_from([0.0, 2.0**-40, 0.01, 0.5]))
    steps = [Fraction(radius) * s for s in (-1, 0, 1)]
    centre = [Fraction(v) for v in x[0].tolist()]
    values = [exact_logits_at(module, [centre[0] + dx, centre[1] + dy]) for dx in steps for dy in steps]
    least = min(value[1] - value[0] for value in values)
    for slug in WITH_JACOBIANS:
        found = float(bound(slug, module, x, 1, sokbench.Ball("linf", radius))[0])
        assert found == float("-inf") or Fraction(found) <= least, slug


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), cut=st.booleans())
def test_the_quadratic_is_minimised(seed: int, norm: str, cut: bool) -> None:
    """Two layers: the bound is the minimum of the quadratic, here found by descent from the best of many points."""
    module = dense([3, 7, 3], seed)
    ball = sokbench.Ball(norm, 0.4, 0.0, 1.0) if cut else sokbench.Ball(norm, 0.4)  # type: ignore[arg-type]
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first, _, last = module
    ((lower, upper),) = preactivation_bounds(graph_for(module, (3,)), x, ball)
    found, intervals = (bound(slug, module, x, 0, ball) for slug in ("crown_quad", "ibp"))
    width = torch.where((lower < 0) & (upper > 0), upper - lower, 1.0)

    def values(points: Tensor, row: Tensor) -> Tensor:
        y = first(points)
        parabola = torch.where(lower >= 0, y, torch.where(upper <= 0, 0.0, y * (y - lower) / width))
        chord = torch.where(lower >= 0, y, torch.where(upper <= 0, 0.0, upper * (y - lower) / width))
        return (row.clamp(min=0) * parabola + row.clamp(max=0) * chord).sum(dim=1)

    project = projection(x, ball, input_set(x, ball).interval())
    for j in (1, 2):
        row, offset = (last.weight[0] - last.weight[j]).detach(), float((last.bias[0] - last.bias[j]).detach())
        cloud = points_in(x[0], ball, 1000, seed)
        points = cloud[values(cloud, row).argsort()[:5]]
        for step in range(150):
            points = points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(values(points, row).sum(), points)
            points = project(points.detach() - 0.3 / (1 + step / 20) * gradient)
        least = float(values(points, row).detach().min()) + offset
        if found[j] > intervals[j] + 1e-9:
            assert least - 1e-3 * (1 + abs(least)) <= float(found[j]) <= least + 1e-9


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), cut=st.booleans())
def test_projections_are_nearest(seed: int, norm: str, cut: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    ball = sokbench.Ball(norm, 0.5, 0.0, 1.0) if cut else sokbench.Ball(norm, 0.5)  # type: ignore[arg-type]
    x = torch.rand(1, 4, generator=generator, dtype=torch.float64)
    points = x + torch.randn(6, 4, generator=generator, dtype=torch.float64)
    found = projection(x, ball, input_set(x, ball).interval())(points)
    cloud = points_in(x[0], ball, 3000, seed)
    for point, nearest in zip(points, found, strict=True):
        assert in_ball(nearest, x[0], ball)
        # the variational inequality that marks a projection onto a convex set
        assert float(((cloud - nearest) @ (point - nearest)).max()) <= 1e-8


def test_quadratics_may_beat_fixed_lines_and_never_the_best() -> None:
    gained = 0
    for seed in range(6):
        module = dense([4, 20, 3], seed)
        x = torch.rand(1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        quadratic, crown, best = (
            bound(slug, module, x, 0, sokbench.Ball("linf", 0.2)) for slug in ("crown_quad", "crown", "lp_full")
        )
        gained += int((quadratic > crown + 1e-4).sum())
        assert bool((quadratic <= best + 1e-6).all())
    assert gained > 0


def test_smaller_groups_are_tighter() -> None:
    """FROWN between CROWN and slopes for every row; by how much, depends on the network."""
    module = dense([4, 20, 20, 20, 3], 3)
    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    network, ball = Network("test", module, (4,), 3, ""), sokbench.Ball("linf", 0.06)
    found = {}
    for group in (1, 64):
        method = sokbench.method("frown", group=group, iterations=30, rate=0.3)
        assert isinstance(method, BoundingVerifier)
        found[group] = method.margins(network, x, torch.tensor([0]), ball)[0, 1:]
    crown = bound("crown", module, x, 0, ball)[1:]
    assert bool((found[64] > crown + 1e-2).all())
    assert bool((found[1] > found[64] + 1e-5).all())
