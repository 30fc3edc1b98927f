"""Safe dual bounds against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from verifiers.lp.safe_bound import Bounds, DualBound

NUMBERS = st.floats(-1e12, 1e12) | st.floats(-1e-3, 1e-3) | st.sampled_from([0.0, 5e-324, -5e-324, 1e-310, 1e150])


def exact_dual(matrix, cost, bounds: Bounds, dual) -> Fraction:
    """The dual function at `dual` in rational arithmetic, with the multipliers of infinite sides dropped."""
    y = [
        Fraction(0) if (v > 0 and np.isinf(lo)) or (v < 0 and np.isinf(up)) else Fraction(v)
        for v, lo, up in zip(dual, bounds.row_lower, bounds.row_upper, strict=True)
    ]
    total = Fraction(0)
    for value, low, up in zip(y, bounds.row_lower, bounds.row_upper, strict=True):
        total += value * Fraction(low if value > 0 else up) if value else 0
    for j in range(matrix.shape[1]):
        reduced = Fraction(cost[j]) - sum(Fraction(matrix[i, j]) * y[i] for i in range(len(y)))
        total += min(reduced * Fraction(bounds.lower[j]), reduced * Fraction(bounds.upper[j]))
    return total


@st.composite
def programs(draw):
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(1, 4))

    def vector(size):
        return np.array(draw(st.lists(NUMBERS, min_size=size, max_size=size)))

    matrix = vector(rows * columns).reshape(rows, columns)
    one, two = vector(columns), vector(columns)
    row_one, row_two = vector(rows), vector(rows)
    low, up = np.minimum(row_one, row_two), np.maximum(row_one, row_two)
    for i in range(rows):
        side = draw(st.sampled_from(["both", "lower", "upper"]))
        low[i], up[i] = (low[i] if side != "upper" else -np.inf), (up[i] if side != "lower" else np.inf)
    bounds = Bounds(low, up, np.minimum(one, two), np.maximum(one, two))
    return matrix, vector(columns), bounds, vector(rows)


@given(programs())
def test_bound_is_below_the_exact_dual_value_and_near_it(program):
    matrix, cost, bounds, dual = program
    bound = DualBound(sp.csr_array(matrix)).minimum(cost, bounds, dual)
    exact = exact_dual(matrix, cost, bounds, dual)
    if bound == -np.inf:
        return
    assert Fraction(bound) <= exact
    reach = np.maximum(np.abs(bounds.lower), np.abs(bounds.upper))
    sides = np.where(np.isfinite(bounds.row_lower), np.abs(bounds.row_lower), 0) + np.where(
        np.isfinite(bounds.row_upper), np.abs(bounds.row_upper), 0
    )
    with np.errstate(over="ignore"):
        size = np.abs(dual) @ (np.abs(matrix) @ reach + sides) + np.abs(cost) @ reach
    assert float(exact - Fraction(bound)) <= 1e-13 * size + 1e-290 * (1 + reach.sum())


@pytest.mark.parametrize("seed", range(20))
def test_reduced_costs_that_cancel_are_not_taken_for_zero(seed):
    """cost = fl(A'y): the reduced costs vanish in floating point but not in fact, on columns a million wide."""
    rng = np.random.default_rng(seed)
    matrix, dual = rng.normal(size=(30, 4)), rng.normal(size=30)
    cost = sp.csr_array(matrix).T @ dual
    bounds = Bounds(np.zeros(30), np.zeros(30), np.full(4, -1e6), np.full(4, 1e6))
    bound = DualBound(sp.csr_array(matrix)).minimum(cost, bounds, dual)
    assert Fraction(bound) <= exact_dual(matrix, cost, bounds, dual)
    assert bound > -1e-5


def test_cost_error_is_paid_for():
    bounds = Bounds(np.zeros(0), np.zeros(0), np.array([-2.0]), np.array([3.0]))
    empty = DualBound(sp.csr_array((0, 1)))
    plain = empty.minimum(np.array([1.0]), bounds, np.zeros(0))
    with_error = empty.minimum(np.array([1.0]), bounds, np.zeros(0), np.array([0.5]))
    assert plain == pytest.approx(-2.0, abs=1e-12)
    # the true cost may be 1.5 (least -3) or 0.5 (least -1); the term is bounded by the larger end
    assert with_error <= -3.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_duals_cost_tightness_not_soundness(bad):
    bounds = Bounds(np.array([0.0]), np.array([1.0]), np.array([0.0]), np.array([1.0]))
    bound = DualBound(sp.csr_array([[1.0]])).minimum(np.array([1.0]), bounds, np.array([bad]))
    assert bound <= 0.0
    assert bound == pytest.approx(0.0, abs=1e-12)


def test_overflow_gives_no_bound():
    bounds = Bounds(np.array([1e300]), np.array([1e300]), np.array([0.0]), np.array([1.0]))
    assert DualBound(sp.csr_array([[1e300]])).minimum(np.array([1.0]), bounds, np.array([1e300])) == -np.inf


def test_a_ray_refutes_only_what_is_empty():
    evaluate = DualBound(sp.csr_array([[1.0, 1.0]]))
    box = np.zeros(2), np.ones(2)
    empty = Bounds(np.array([2.5]), np.array([np.inf]), *box)
    tight = Bounds(np.array([2.0]), np.array([np.inf]), *box)
    assert evaluate.refutes(empty, np.array([1.0]))
    assert not evaluate.refutes(empty, np.array([-1.0]))
    assert not any(evaluate.refutes(tight, np.array([scale])) for scale in (1e-6, 1.0, 1e6, -1.0))
