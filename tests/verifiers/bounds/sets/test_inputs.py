"""Extrema of linear functions over input sets, against exact optima found another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor, nn

from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for
from verifiers.bounds.plans import Plan
from verifiers.bounds.propagation import run
from verifiers.bounds.rounding import Outward
from verifiers.bounds.sets.inputs import Box, InputSet, LpBall, input_set

BOTH = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)


def extrema(inputs: InputSet, rows: Tensor) -> Tensor:
    """(2, K): minimum and maximum of each of the rows (K, n) over the set of the first input."""
    return inputs.concretize(rows[None, None], BOTH, slice(0, 1))[:, 0]


def exact_l1(row: np.ndarray, x: np.ndarray, ball: Ball) -> float:
    """Maximum over the l1 ball cut with a box, as a linear programme in x' = x + p - m."""
    limits = [(0, (ball.high if ball.high is not None else np.inf) - v) for v in x]
    limits += [(0, v - (ball.low if ball.low is not None else -np.inf)) for v in x]
    found = linprog(np.concatenate([-row, row]), A_ub=np.ones((1, 2 * len(x))), b_ub=[ball.radius], bounds=limits)
    return float(row @ x - found.fun)


def exact_l2(row: np.ndarray, x: np.ndarray, ball: Ball) -> float:
    """Maximum over the l2 ball cut with a box: the move clip(row / s, room), s by bisection on its length."""
    up = (ball.high if ball.high is not None else np.inf) - x
    down = x - (ball.low if ball.low is not None else -np.inf)
    if np.linalg.norm(np.where(row > 0, up, down)[row != 0]) <= ball.radius:
        return float(row @ x + np.where(row > 0, row * up, np.where(row < 0, -row * down, 0.0)).sum())
    small, large = 1e-12, 1e300
    for _ in range(200):
        middle = np.sqrt(small) * np.sqrt(large)
        longer = np.linalg.norm(np.clip(row / middle, -down, up)) > ball.radius
        small, large = (middle, large) if longer else (small, middle)
    return float(row @ x + row @ np.clip(row / large, -down, up))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    norm=st.sampled_from(["l1", "l2"]),
    radius=st.sampled_from([0.0, 1e-3, 0.1, 0.5, 1.0, 3.0, 100.0]),
    sides=st.sampled_from([(0.0, 1.0), (None, 1.0), (0.0, None), (None, None)]),
)
def test_lp_balls(seed: int, norm: str, radius: float, sides: tuple[float | None, float | None]) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.uniform(-0.3, 1.3, 7).clip(0, 1), 2)
    rows = rng.normal(size=(4, 7)) * 10.0 ** rng.integers(-3, 4, size=(4, 7))
    rows[0, :3] = 0.0
    ball = Ball(norm, radius, *sides)  # type: ignore[arg-type]
    exact = exact_l1 if norm == "l1" else exact_l2
    lower, upper = extrema(input_set(torch.tensor(x)[None], ball), torch.tensor(rows)).tolist()
    for j, row in enumerate(rows):
        most, least = exact(row, x, ball), -exact(-row, x, ball)
        gain = max(most - row @ x, row @ x - least, 1e-9)
        assert most - 1e-9 * gain - 1e-12 <= upper[j] <= most + 1e-3 * gain + 1e-9
        assert least - 1e-3 * gain - 1e-9 <= lower[j] <= least + 1e-9 * gain + 1e-12


def test_box_is_exact_at_its_corners() -> None:
    x, rows = torch.rand(1, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    lower, upper = extrema(Box(x, 0.2, 0.0, 1.0), rows)
    low, high = (x - 0.2).clamp(min=0), (x + 0.2).clamp(max=1)
    assert torch.allclose(upper, torch.where(rows > 0, rows * high, rows * low).sum(dim=1), atol=1e-14)
    assert torch.allclose(lower, torch.where(rows > 0, rows * low, rows * high).sum(dim=1), atol=1e-14)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_hull_contains_the_ball_in_real_arithmetic(norm: str) -> None:
    x = torch.tensor([[0.1, 0.7, 1e-17, 1.0]], dtype=torch.float64)
    lower, upper = input_set(x, Ball(norm, 0.3, 0.0, 1.0)).interval()  # type: ignore[arg-type]
    assert bool((lower <= (x - 0.3).clamp(min=0)).all())
    assert bool((upper >= (x + 0.3).clamp(max=1)).all())
    assert lower.min() >= 0.0
    assert upper.max() <= 1.0
    assert bool((upper - lower < 0.6 + 1e-12).all())


def test_a_radius_for_each_input() -> None:
    x, rows = torch.rand(3, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    radii = torch.tensor([0.0, 0.1, 0.7], dtype=torch.float64)
    for norm, q in (("l2", 2.0), ("l1", torch.inf), ("linf", 1.0)):
        for low, high in ((None, None), (0.0, 1.0)):
            whole = Box(x, radii, low, high) if norm == "linf" else LpBall(x, radii, q, low, high)
            found = whole.concretize(rows, BOTH, slice(0, 3))
            for i, radius in enumerate(radii.tolist()):
                alone = input_set(x[i : i + 1], Ball(norm, radius, low, high))  # type: ignore[arg-type]
                expected = alone.concretize(rows[:, i : i + 1], BOTH, slice(0, 1))
                assert torch.allclose(found[:, i : i + 1], expected, atol=1e-12)
                assert torch.equal(whole.size()[i], alone.size()[0])
                assert all(map(torch.equal, (s[i : i + 1] for s in whole.interval()), alone.interval()))


def test_a_radius_for_each_coordinate() -> None:
    x = torch.rand(2, 3, dtype=torch.float64)
    radius = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.0, 1.0]], dtype=torch.float64)
    rows = torch.randn(1, 2, 4, 3, dtype=torch.float64)
    found = Box(x, radius).concretize(rows, BOTH, slice(0, 2))
    reach = (rows[0].abs() * radius[:, None]).sum(dim=2)
    middle = (rows[0] * x[:, None]).sum(dim=2)
    assert torch.allclose(found, torch.stack([middle - reach, middle + reach]), atol=1e-12)


@pytest.mark.parametrize("radius", [torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2, -0.1]), torch.ones(3, 1)])
def test_radii_that_do_not_fit_are_refused(radius: Tensor) -> None:
    with pytest.raises(InvalidInput, match="each of 3 inputs"):
        LpBall(torch.zeros(3, 4), radius, 2.0)


def test_interval_bounds_of_the_first_layer_know_each_radius() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x, radii = torch.rand(2, 6, dtype=torch.float64), torch.tensor([0.1, 0.5], dtype=torch.float64)
    graph = graph_for(module, (6,))
    bounds, _ = run(graph, LpBall(x, radii, 2.0), Plan(None, False), Outward(), graph.magnitudes, Deadline())
    weight = module[0].weight.detach()
    expected = radii[:, None] * weight.norm(dim=1)
    assert torch.allclose(bounds.intervals[1].upper, module[0](x).detach() + expected, atol=1e-12)
