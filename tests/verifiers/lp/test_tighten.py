"""Layerwise tightening against brute force, sampling and the bounds it started from."""

from __future__ import annotations

import numpy as np
import pytest

from sokbench.core.deadline import Deadline
from tests.verifiers.lp.nets import exact_minimum, forward, intervals, random_chain
from verifiers.lp.input_set import InputSet
from verifiers.lp.margins import bound_margins
from verifiers.lp.tighten import relax, tighten


def box(rng: np.random.Generator, size: int, radius: float) -> InputSet:
    center = rng.normal(size=size)
    return InputSet(center - radius, center + radius)


def l1_ball(rng: np.random.Generator, size: int, radius: float) -> InputSet:
    center = rng.normal(size=size)
    return InputSet(center - radius, center + radius, center, radius)


@pytest.mark.parametrize("make", [box, l1_ball])
@pytest.mark.parametrize("seed", range(8))
def test_margins_lie_between_the_untightened_and_the_exact_ones(make, seed):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, (3, 4, 3, 3))
    inputs = make(rng, 3, 0.5)
    spans = intervals(layers, inputs)
    loose = relax(layers, inputs, spans)
    plain, full = np.full(3, -np.inf), np.full(3, -np.inf)
    bound_margins(loose.program, loose.solver, layers[-1], 0, plain, (1, 2), Deadline())
    tight = tighten(layers, inputs, spans, Deadline())
    bound_margins(tight.program, tight.solver, layers[-1], 0, full, (1, 2), Deadline())
    for other in (1, 2):
        row = np.eye(3)[0] - np.eye(3)[other]
        exact, _ = exact_minimum(layers, inputs, row)
        assert plain[other] <= full[other] + 1e-9
        assert full[other] <= exact + 1e-9
        assert full[other] >= exact - 20, "a relaxation this loose means a broken program"


@pytest.mark.parametrize("seed", range(8))
def test_tightened_bounds_hold_at_samples_and_are_no_looser(seed):
    rng = np.random.default_rng(100 + seed)
    layers = random_chain(rng, (3, 5, 5, 2))
    inputs = box(rng, 3, 0.7)
    tight = tighten(layers, inputs, intervals(layers, inputs), Deadline())
    points = rng.uniform(inputs.lower, inputs.upper, size=(2000, 3))
    values = points
    for columns, one, (low, up) in zip(tight.program.layers, layers, intervals(layers, inputs), strict=False):
        values = values @ one.weight.toarray().T + one.bias
        assert (columns.lower >= low).all()
        assert (columns.upper <= up).all()
        assert (values >= columns.lower).all()
        assert (values <= columns.upper).all()
        values = np.maximum(values, 0)
    assert np.allclose(forward(layers, points)[:5], values[:5] @ layers[-1].weight.toarray().T + layers[-1].bias)
