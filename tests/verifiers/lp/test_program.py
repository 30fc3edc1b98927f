"""The triangle program contains the network: checked in rational arithmetic."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tests.verifiers.lp.nets import intervals, layer, random_chain
from verifiers.lp.input_set import InputSet, input_set
from verifiers.lp.program import TriangleProgram, chord

MAGNITUDES = st.floats(1e-300, 1e300) | st.floats(5e-324, 1e-300) | st.floats(0.5, 2.0)


@given(MAGNITUDES, MAGNITUDES)
def test_chord_is_above_the_relu_at_both_ends(below, above):
    slope, offset = chord(np.array([-below]), np.array([above]))
    s, t = Fraction(slope[0]), Fraction(offset[0])
    assert s * Fraction(-below) + t >= 0
    assert s * Fraction(above) + t >= Fraction(above)


@given(MAGNITUDES, MAGNITUDES)
def test_chord_is_tight(below, above):
    slope, offset = chord(np.array([-below]), np.array([above]))
    assert slope[0] * above + offset[0] <= above + 1e-14 * max(above, below) + 1e-320
    assert -slope[0] * below + offset[0] <= 1e-14 * max(above, below) + 1e-320


def exact_point(layers, x):
    """Pre-activations and outputs of every layer as fractions."""
    values, found = [Fraction(v) for v in x], []
    for one in layers:
        rows = one.weight.toarray()
        pre = [
            sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(rows, one.bias, strict=True)
        ]
        values = [max(p, Fraction(0)) for p in pre]
        found.append((pre, values))
    return found


def assert_contains(program, layers, x):
    """The exact behaviour at `x`, as a column vector, satisfies every row and column bound exactly."""
    point = [Fraction(0)] * program.num_columns
    point[: len(x)] = [Fraction(v) for v in x]
    for columns, (pre, post) in zip(program.layers, exact_point(layers, x), strict=False):
        for i, (p, z) in enumerate(zip(pre, post, strict=True)):
            if columns.pre[i] >= 0:
                point[columns.pre[i]] = p
            if columns.post[i] >= 0:
                point[columns.post[i]] = z
            else:
                assert z == 0
    bounds, matrix = program.bounds, program.matrix().tocoo()
    sums = [Fraction(0)] * program.num_rows
    for row, column, value in zip(*matrix.coords, matrix.data, strict=True):
        sums[row] += Fraction(value) * point[column]
    for value, low, up in zip(sums, bounds.row_lower, bounds.row_upper, strict=True):
        assert np.isinf(low) or value >= Fraction(low)
        assert np.isinf(up) or value <= Fraction(up)
    for value, low, up in zip(point, bounds.lower, bounds.upper, strict=True):
        assert Fraction(low) <= value <= Fraction(up)


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
@pytest.mark.parametrize("seed", range(5))
def test_every_behaviour_is_feasible(seed, scale):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, (2, 4, 3, 2))
    layers[1] = layer(scale * layers[1].weight.toarray(), scale * layers[1].bias)
    center = rng.normal(size=2)
    inputs = InputSet(center - 0.4, center + 0.4)
    program = TriangleProgram(inputs)
    for one, (low, up) in zip(layers[:-1], intervals(layers, inputs), strict=True):
        program.add_layer(one, low, up)
    for x in rng.uniform(inputs.lower, inputs.upper, size=(20, 2)):
        assert_contains(program, layers, x)


def test_a_rounded_layer_still_contains_the_exact_one():
    rng = np.random.default_rng(3)
    layers = random_chain(rng, (2, 4, 2))
    stated = replace(layers[0], weight_error=2e-3, bias_error=1e-3)
    exact = layer(layers[0].weight.toarray() + 1e-3 * np.array([1, -1]), layers[0].bias - 1e-3)
    inputs = InputSet(np.full(2, -1.0), np.full(2, 1.0))
    low, up = intervals([exact, layers[1]], inputs)[0]
    program = TriangleProgram(inputs)
    program.add_layer(stated, low, up)
    for x in rng.uniform(-1, 1, size=(20, 2)):
        assert_contains(program, [exact], x)
    objective = program.margin(replace(layers[1], bias_error=0.25), 0, 1)
    assert objective.offset <= layers[1].bias[0] - layers[1].bias[1] - 0.5


def test_inactive_neurons_have_no_columns_and_active_ones_one():
    program = TriangleProgram(InputSet(np.zeros(1), np.ones(1)))
    added = program.add_layer(
        layer([[1.0], [1.0], [1.0]], [1.0, -2.0, -0.5]), np.array([1.0, -2.0, -0.5]), np.array([2.0, -1.0, 0.5])
    )
    assert added.pre.tolist() == [1, -1, 2]
    assert added.post.tolist() == [1, -1, 3]
    assert added.unstable.tolist() == [2]


def test_l1_ball_needs_the_split_columns():
    inputs = InputSet(np.zeros(2), np.ones(2), np.full(2, 0.5), 0.5)
    assert sp.issparse(inputs.matrix())
    assert inputs.matrix().shape == (3, 6)
    assert inputs.columns()[1].tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


def test_box_is_rounded_outward_and_cut():
    import torch

    from sokbench.core.problem import Ball

    x = torch.tensor([0.05, 0.5, 0.95])
    found = input_set(x, Ball("linf", 0.1, 0.0, 1.0))
    center = [Fraction(float(v)) for v in x.double()]
    assert found.lower[0] == 0.0
    assert found.upper[2] == 1.0
    assert Fraction(found.lower[1]) <= center[1] - Fraction(0.1)
    assert Fraction(found.upper[1]) >= center[1] + Fraction(0.1)
    assert found.upper[1] == pytest.approx(0.6, abs=1e-6)
