"""l0 balls: exact against all choices of the changed coordinates."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for, margins_at
from verifiers.bounds import margin_bounds
from verifiers.bounds.sets.inputs import input_set
from verifiers.bounds.sets.sparse import Sparse

BOTH = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)


def corners(x: Tensor, groups: list[list[int]], budget: int, low: float, high: float) -> Tensor:
    """All ways of moving at most `budget` groups of entries of x (n,) to low or high, (N, n)."""
    found = [x]
    for chosen in itertools.combinations(groups, min(budget, len(groups))):
        places = [place for group in chosen for place in group]
        for values in itertools.product([low, high, None], repeat=len(places)):
            moved = x.clone()
            for place, value in zip(places, values, strict=True):
                moved[place] = moved[place] if value is None else value
            found.append(moved)
    return torch.stack(found)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), budget=st.integers(0, 4), pixels=st.booleans())
def test_extrema_are_those_of_the_best_choice(seed: int, budget: int, pixels: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((1, 2, 1, 2), dtype=torch.float64, generator=generator)
    x[0, 0, 0, 0] = 0.0
    rows = torch.randn((2, 1, 5, 2, 1, 2), dtype=torch.float64, generator=generator)
    groups = [[0, 2], [1, 3]] if pixels else [[0], [1], [2], [3]]
    points = corners(x.flatten(), groups, budget, 0.0, 1.0)
    values = torch.einsum("sgkn,pn->sgkp", rows.flatten(3), points)
    exact = torch.stack([values[0].amin(dim=2), values[1].amax(dim=2)])
    inputs = Sparse(x, budget, 0.0, 1.0, pixels)
    assert torch.allclose(inputs.concretize(rows, BOTH, slice(0, 1)), exact, atol=1e-12)
    lower, upper = (side.flatten() for side in inputs.interval())
    assert bool((lower <= points).all())
    assert bool((upper >= points).all())
    assert float(inputs.size()) >= float(points.abs().max())
    centre, radius, _ = inputs.ball  # type: ignore[misc]
    assert bool(((points - centre.flatten()).abs().sum(dim=1) <= radius).all())


def test_a_budget_for_each_input_and_any_owner() -> None:
    x, rows = torch.rand(3, 6, dtype=torch.float64), torch.randn(2, 4, 1, 6, dtype=torch.float64)
    budgets, owner = torch.tensor([0, 2, 9]), torch.tensor([2, 0, 1, 1])
    found = Sparse(x, budgets, 0.0, 1.0).concretize(rows, BOTH, owner)
    for group, i in enumerate(owner.tolist()):
        alone = Sparse(x[i : i + 1], int(budgets[i]), 0.0, 1.0).concretize(rows[:, group, None], BOTH, slice(0, 1))
        assert torch.allclose(found[:, group, None], alone, atol=1e-12)
    assert torch.equal(Sparse(x, budgets, 0.0, 1.0).interval().lower[0], x[0])


def test_the_radius_of_an_l0_ball_counts_coordinates() -> None:
    x, rows = torch.full((1, 4), 0.5), torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(1, 1, 1, 4)
    found = input_set(x, Ball("l0", 2.0, 0.0, 1.0)).concretize(rows, BOTH.float(), slice(0, 1))
    assert found.flatten().tolist() == pytest.approx([5.0 - 3.5, 5.0 + 3.5], rel=1e-6)


def test_what_is_refused() -> None:
    x = torch.rand(2, 3)
    with pytest.raises(Unsupported, match="box"):
        input_set(x, Ball("l0", 1.0))
    with pytest.raises(Unsupported, match="box"):
        Sparse(x, 1, 0.0, None)
    with pytest.raises(InvalidInput, match="budget"):
        Sparse(x, -1, 0.0, 1.0)
    with pytest.raises(InvalidInput, match="each of 2 inputs"):
        Sparse(x, torch.tensor([1, 2, 3]), 0.0, 1.0)


def test_margins_hold_at_all_corners_and_are_better_than_those_of_the_box() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    graph, x = graph_for(module, (6,)), torch.rand(1, 6, dtype=torch.float64)
    label = int(module(x).argmax())
    points = corners(x[0], [[i] for i in range(6)], 2, 0.0, 1.0)
    truth = margins_at(module, points, label).amin(dim=0)
    sparse, box = Ball("l0", 2.0, 0.0, 1.0), Ball("linf", 1.0, 0.0, 1.0)
    for plan in ("ibp", "crown_ibp", "crown"):
        found, loose = (margin_bounds(graph, x, torch.tensor([label]), ball, plan)[0] for ball in (sparse, box))
        assert bool((found <= truth).all())
        assert bool((found >= loose - 1e-9).all())
        assert float(found.min()) > float(loose.min())
