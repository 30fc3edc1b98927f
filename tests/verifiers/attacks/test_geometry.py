"""Projections stay inside the ball and the box in real arithmetic, and go no further than they must."""

from __future__ import annotations

import math
from fractions import Fraction

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from sokbench.core.errors import Unsupported
from sokbench.core.problem import Ball
from verifiers.attacks.geometry import project, random_points, steepest

NORMS = ["linf", "l2", "l1"]


def exact_offset(point: Tensor, x: Tensor) -> list[Fraction]:
    return [abs(Fraction(p) - Fraction(c)) for p, c in zip(point.tolist(), x.tolist(), strict=True)]


def inside_exactly(point: Tensor, x: Tensor, ball: Ball) -> bool:
    """Membership in rational arithmetic: floats are rationals, so nothing is rounded."""
    offset, radius = exact_offset(point, x), Fraction(ball.radius)
    in_ball = {
        "linf": max(offset) <= radius,
        "l1": sum(offset) <= radius,
        "l2": sum(value * value for value in offset) <= radius * radius,
    }[ball.norm]
    low_ok = ball.low is None or all(Fraction(p) >= Fraction(ball.low) for p in point.tolist())
    return low_ok and (ball.high is None or all(Fraction(p) <= Fraction(ball.high) for p in point.tolist())) and in_ball


def float32(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


@settings(max_examples=300)
@given(
    norm=st.sampled_from(NORMS),
    radius=st.one_of(st.floats(0.0, 2.0), st.sampled_from([0.1, 8 / 255, 1e-9])),
    pairs=st.lists(st.tuples(float32(0.125, 0.75), float32(-3.0, 3.0)), min_size=1, max_size=12),
    box=st.sampled_from([(None, None), (0.0, 1.0), (0.1, 0.8), (None, 0.8)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_projection_is_inside_exactly(
    norm: str,
    radius: float,
    pairs: list[tuple[float, float]],
    box: tuple[float | None, float | None],
    dtype: torch.dtype,
) -> None:
    x = torch.tensor([[centre for centre, _ in pairs]], dtype=dtype)
    point = x + torch.tensor([[offset for _, offset in pairs]], dtype=dtype)
    ball = Ball(norm, radius, *box)  # type: ignore[arg-type]
    projected = project(point, x, ball)
    assert projected.dtype == dtype
    assert inside_exactly(projected[0], x[0], ball)


@pytest.mark.parametrize("norm", NORMS)
def test_many_random_points_are_inside_exactly(norm: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(40, 1, 7, 9)
    for radius in (1e-3, 0.1, 1.7, 30.0):
        ball = Ball(norm, radius, 0.0, 1.0)  # type: ignore[arg-type]
        for restart in (1, 2):
            points = random_points(x, ball, 0, restart)
            assert all(inside_exactly(p.flatten(), c.flatten(), ball) for p, c in zip(points, x, strict=True))


@pytest.mark.parametrize("norm", NORMS)
def test_points_inside_do_not_move_and_others_reach_the_sphere(norm: str) -> None:
    torch.manual_seed(1)
    x = torch.rand(5, 20)
    direction = torch.randn(5, 20)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    unit = direction / torch.linalg.vector_norm(direction, order, dim=1, keepdim=True)
    ball = Ball(norm, 0.5)  # type: ignore[arg-type]
    inner = x + 0.4 * unit
    torch.testing.assert_close(project(inner, x, ball), inner, rtol=0.0, atol=2e-7)
    outer = project(x + 3.0 * unit, x, ball)
    reached = torch.linalg.vector_norm(outer - x, order, dim=1)
    torch.testing.assert_close(reached, torch.full((5,), 0.5), rtol=1e-5, atol=0.0)


def test_l1_and_l2_projections_are_the_nearest_points() -> None:
    x, point = torch.zeros(1, 3), torch.tensor([[3.0, -1.0, 0.5]])
    # l1: soft threshold at 1.5 leaves (1.5, 0, 0); l2: a multiple of the point
    torch.testing.assert_close(project(point, x, Ball("l1", 1.5)), torch.tensor([[1.5, 0.0, 0.0]]))
    torch.testing.assert_close(project(point, x, Ball("l1", 3.0)), torch.tensor([[2.5, -0.5, 0.0]]))
    torch.testing.assert_close(project(point, x, Ball("l2", 1.0)), point / math.sqrt(10.25))


def test_radius_zero_gives_the_centre() -> None:
    x = torch.rand(3, 4)
    for norm in NORMS:
        assert torch.equal(project(x + 1.0, x, Ball(norm, 0.0, 0.0, 1.0)), x)  # type: ignore[arg-type]


def test_random_points_do_not_depend_on_the_batch() -> None:
    x = torch.rand(6, 2, 3)
    ball = Ball("l2", 0.3, 0.0, 1.0)
    together = random_points(x, ball, 5, 1)
    alone = torch.cat([random_points(one[None], ball, 5, 1) for one in x.flip(0)]).flip(0)
    assert torch.equal(together, alone)
    assert not torch.equal(together, random_points(x, ball, 6, 1))
    assert not torch.equal(together, random_points(x, ball, 5, 2))


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_has_unit_norm_and_climbs(norm: str) -> None:
    gradient = torch.randn(3, 1, 20, 20)
    direction = steepest(gradient, norm)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    torch.testing.assert_close(torch.linalg.vector_norm(direction.flatten(1), order, dim=1), torch.ones(3))
    assert bool(((gradient * direction).flatten(1).sum(dim=1) > 0).all())
    assert not bool(steepest(torch.zeros(1, 5), norm).any())


def test_l0_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="l0"):
        project(torch.ones(1, 2), torch.zeros(1, 2), Ball("l0", 1.0))
