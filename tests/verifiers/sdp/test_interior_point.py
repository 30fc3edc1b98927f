"""The interior-point method against a general solver on the primal relaxation, written independently with cvxpy."""

from __future__ import annotations

import numpy as np
import pytest

from sokbench.core.deadline import Deadline
from tests.verifiers.lp.nets import exact_minimum, forward
from tests.verifiers.sdp.test_forms import problem
from verifiers.lp.margins import bound_margins
from verifiers.lp.program import chord
from verifiers.lp.tighten import relax
from verifiers.sdp.certificate import Multipliers, certify
from verifiers.sdp.forms import eliminate_stable
from verifiers.sdp.interior_point import DualProblem


def solved(forms, target: int, curved=None) -> float:
    """The best certified bound along the method's path, from no multipliers at all."""
    m = len(forms.peak)
    start = Multipliers(np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(forms.inputs + m))
    chosen = np.arange(m) if curved is None else curved
    best = -np.inf
    for multipliers, gap in DualProblem(forms, target, start, chosen).solve(5.0):
        best = max(best, certify(forms, target, multipliers))
        if gap < 1e-6:
            break
    return best


def reference(layers, inputs, spans, row) -> float:
    """min row @ logits of Raghunathan et al.'s relaxation over (1, x, z of every neuron), in original coordinates."""
    cvxpy = pytest.importorskip("cvxpy")
    sizes = [inputs.size, *(len(low) for low, _ in spans)]
    starts = 1 + np.concatenate([[0], np.cumsum(sizes)])
    moments = cvxpy.Variable((starts[-1], starts[-1]), PSD=True)
    x = moments[0, 1 : starts[1]]
    square = cvxpy.diag(moments)[1 : starts[1]]
    constraints = [moments[0, 0] == 1, x >= inputs.lower, x <= inputs.upper]
    constraints.append(square <= cvxpy.multiply(inputs.lower + inputs.upper, x) - inputs.lower * inputs.upper)
    for depth, (low, up) in enumerate(spans):
        before, here = slice(starts[depth], starts[depth + 1]), slice(starts[depth + 1], starts[depth + 2])
        weight, bias = layers[depth].weight.toarray(), layers[depth].bias
        p = weight @ moments[0, before] + bias
        z = moments[0, here]
        z_times_p = cvxpy.sum(cvxpy.multiply(moments[here, before], weight), axis=1) + cvxpy.multiply(z, bias)
        z_square = cvxpy.diag(moments)[here]
        for i, (least, most) in enumerate(zip(low, up, strict=True)):
            if least >= 0:
                constraints += [z[i] == p[i]]
            elif most <= 0:
                constraints += [z[i] == 0, z_square[i] == 0]
            else:
                slope, offset = chord(np.array([least]), np.array([most]))
                constraints += [z[i] >= 0, z[i] >= p[i], z[i] <= slope[0] * p[i] + offset[0]]
                constraints += [z_square[i] == z_times_p[i], z_square[i] <= most * z[i]]
    last = slice(starts[-2], starts[-1])
    weight, bias = row @ layers[-1].weight.toarray(), row @ layers[-1].bias
    task = cvxpy.Problem(cvxpy.Minimize(weight @ moments[0, last] + bias), constraints)
    return float(task.solve(solver="CLARABEL"))


@pytest.mark.parametrize("seed", range(5))
def test_reaches_the_optimum_of_a_general_solver(seed):
    layers, inputs, spans = problem(seed, (3, 4, 3), radius=0.6)
    forms = eliminate_stable(layers, inputs, spans, 0)
    for other in (1, 2):
        row = np.eye(3)[0] - np.eye(3)[other]
        expected = reference(layers, inputs, spans, row)
        assert solved(forms, other) == pytest.approx(expected, abs=2e-4 * (1 + abs(expected)))


@pytest.mark.parametrize("seed", range(6))
def test_between_linear_programming_and_the_optimum(seed):
    layers, inputs, spans = problem(seed, (3, 5, 4, 3), radius=0.6)
    forms = eliminate_stable(layers, inputs, spans, 0)
    relaxed, linear = relax(layers, inputs, spans), np.full(3, -np.inf)
    bound_margins(relaxed.program, relaxed.solver, layers[-1], 0, linear, (1, 2), Deadline())
    for other in (1, 2):
        exact, _ = exact_minimum(layers, inputs, np.eye(3)[0] - np.eye(3)[other])
        found = solved(forms, other)
        assert found <= exact + 1e-8
        # with a hidden layer more, the linear program also knows the bounds of the pre-activations
        assert found >= linear[other] - 0.05 * (1 + abs(linear[other]))


@pytest.mark.parametrize("seed", range(3))
def test_more_curved_neurons_are_no_worse(seed):
    layers, inputs, spans = problem(seed, (3, 6, 4, 3), radius=0.6)
    forms = eliminate_stable(layers, inputs, spans, 0)
    some, every = solved(forms, 1, np.arange(0, len(forms.peak), 2)), solved(forms, 1)
    assert every >= some - 1e-4 * (1 + abs(some))


def test_every_iterate_is_a_bound():
    layers, inputs, spans = problem(4, (3, 5, 4, 3), radius=0.6)
    forms = eliminate_stable(layers, inputs, spans, 0)
    exact, point = exact_minimum(layers, inputs, np.array([1.0, -1.0, 0.0]))
    assert np.isclose(np.array([1.0, -1.0, 0.0]) @ forward(layers, point[None])[0], exact, atol=1e-5)
    m = len(forms.peak)
    start = Multipliers(np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(3 + m))
    bounds = [
        certify(forms, 1, found)
        for found, _ in zip(
            (q for q, _ in DualProblem(forms, 1, start, np.arange(m)).solve(5.0)), range(12), strict=False
        )
    ]
    assert len(bounds) == 12
    assert max(bounds) <= exact + 1e-8
    assert bounds[-1] > bounds[0]
