"""Thousands of random tiny networks, and the hard cases of each kind: all complete methods against exact answers.

Run by `make test-slow`. Exact are the minima on the decision boundary: polygons of rational points, cut at every line
where a neuron changes its phase, so that a network can be shifted until its least margin is 0, and not nearly 0.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from tests.verifiers.complete.test_agreement import check, complete_methods, random_problem
from tests.verifiers.lp.nets import exact_minimum, layer, network_of
from verifiers.lp.input_set import input_set

pytestmark = pytest.mark.slow

Point = tuple[Fraction, Fraction]
Affine = tuple[Fraction, Fraction, Fraction]
"""c0 x0 + c1 x1 + c2."""

_EDGE_CASES = 100


@pytest.mark.parametrize("block", range(20))
def test_agree_with_brute_force_on_thousands(block):
    for seed in range(100 * block + 1000, 100 * block + 1100):
        norm = "l1" if seed % 4 == 0 else "linf"
        problem, exact = random_problem(seed, norm)
        for slug in complete_methods(norm):
            check(slug, sokbench.method(slug).verify(problem, 20.0), problem, exact)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_radius_zero(norm):
    for seed in range(_EDGE_CASES):
        problem, _ = random_problem(seed, norm)
        point = Problem(problem.network, problem.x, problem.label, Ball(norm, 0.0, 0.0, 1.0))
        logits = problem.network.module.double()(problem.x.double()[None])[0].detach()
        problem.network.module.float()
        margin = float(logits[problem.label] - logits[torch.arange(3) != problem.label].max())
        for slug in complete_methods(norm):
            check(slug, sokbench.method(slug).verify(point, 20.0), point, margin)


@pytest.mark.parametrize("unstable", [False, True])
def test_all_or_no_neurons_are_unstable(unstable):
    for seed in range(_EDGE_CASES):
        problem, exact = _centred(seed) if unstable else _settled(seed)
        for slug in complete_methods("linf"):
            check(slug, sokbench.method(slug).verify(problem, 20.0), problem, exact)


def _settled(seed: int) -> tuple[Problem, float]:
    """A ball in which neurons keep their phases, by large biases."""
    rng = np.random.default_rng(seed)
    layers = [layer(rng.normal(size=(4, 2)).astype(np.float32), rng.choice([-4.0, 4.0], size=4)),
              layer(rng.normal(size=(4, 4)).astype(np.float32), rng.choice([-64.0, 64.0], size=4)),
              layer(rng.normal(size=(2, 4)).astype(np.float32), np.zeros(2))]  # fmt: skip
    return _asked(layers, rng.uniform(0, 1, size=2), float(rng.choice([0.1, 0.5])))


def _centred(seed: int) -> tuple[Problem, float]:
    """Around an input where every neuron is 0: each takes both signs in the ball."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-8, 9, size=shape) / 4.0 for shape in ((3, 2), (3, 3), (2, 3))]
    weights[0][weights[0] == 0] = 0.25
    layers = [layer(weights[0], np.zeros(3)), layer(weights[1], np.zeros(3)),
              layer(weights[2], np.array([0.25 * rng.integers(0, 4), 0.0]))]  # fmt: skip
    return _asked(layers, np.zeros(2), float(rng.choice([0.125, 0.5])))


def _asked(layers, x, radius: float) -> tuple[Problem, float]:
    network, x = network_of(layers), torch.tensor(x, dtype=torch.float32)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", radius))
    row = np.eye(2)[problem.label] - np.eye(2)[1 - problem.label]
    return problem, exact_minimum(layers, input_set(problem.x, problem.ball), row)[0]


@pytest.mark.parametrize("block", range(5))
def test_exactly_on_the_decision_boundary(block):
    """The least margin is 0: a tie, which nobody may call verified. A hair above, nobody may call it falsified."""
    found = 0
    for seed in range(40 * block, 40 * block + 40):
        boundary = _boundary(seed)
        if boundary is None:
            continue
        found += 1
        tie, above, below = boundary
        for slug in complete_methods("linf"):
            assert sokbench.method(slug).verify(tie, 1.0).verdict is not Verdict.VERIFIED, (slug, seed)
            assert sokbench.method(slug).verify(above, 1.0).verdict is not Verdict.FALSIFIED, (slug, seed)
            assert sokbench.method(slug).verify(below, 1.0).verdict is not Verdict.VERIFIED, (slug, seed)
    assert found >= 5


def _boundary(seed: int) -> tuple[Problem, Problem, Problem] | None:
    """Problems whose least margin is exactly 0, the smallest step above, and below; None if floats do not hold it."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-4, 5, size=shape) / 4.0 for shape in ((3, 2), (3, 3), (2, 3))]
    biases = [rng.integers(-4, 5, size=3) / 4.0 for _ in range(2)]
    x, radius = rng.integers(1, 8, size=2) / 8.0, float(rng.choice([0.125, 0.25]))
    corners = [tuple(Fraction(float(v)) for v in (x[0] + radius * a, x[1] + radius * b))
               for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip
    least = _least(corners, weights, biases, weights[2][0] - weights[2][1])
    scale = least.denominator
    # scaled to whole numbers, f_0 - f_1 - least is exact
    step = Fraction(2) ** -8
    problems = []
    for shift in (Fraction(0), step, -step):
        last, bias = weights[2] * scale, [float(shift - least.numerator), 0.0]
        if Fraction(bias[0]) != shift - least.numerator or not all(_is_float32(v) for v in (*last.flatten(), *bias)):
            return None
        network = network_of([layer(weights[0], biases[0]), layer(weights[1], biases[1]), layer(last, bias)])
        problem = Problem(network, torch.tensor(x, dtype=torch.float32), 0, Ball("linf", radius))
        problems.append(problem)
    tie, above, below = problems
    return tie, above, below


def _is_float32(value: float) -> bool:
    return float(np.float32(value)) == float(value)


def _least(corners: list[Point], weights, biases, row) -> Fraction:
    """The least value of row @ network over a polygon, exactly."""
    pieces: list[tuple[list[Point], list[Affine]]] = [
        (corners, [(Fraction(1), Fraction(0), Fraction(0)), (Fraction(0), Fraction(1), Fraction(0))])
    ]
    for weight, bias in zip(weights[:2], biases, strict=True):
        for unit in range(len(weight)):
            cut = []
            for polygon, values in pieces:
                z = _combine(weight[unit], values[: weight.shape[1]], bias[unit])
                for sign in (1, -1):
                    part = _clip(polygon, z, sign)
                    relu = z if sign > 0 else (Fraction(0),) * 3
                    if part:
                        cut.append((part, [*values, relu]))
            pieces = cut
        pieces = [(polygon, values[weight.shape[1] :]) for polygon, values in pieces]
    return min(_at(_combine(row, values, 0.0), point) for polygon, values in pieces for point in polygon)


def _combine(weights, values: list[Affine], bias: float) -> Affine:
    sums = [
        sum((Fraction(float(w)) * v[k] for w, v in zip(weights, values, strict=True)), Fraction(0)) for k in range(3)
    ]
    return sums[0], sums[1], sums[2] + Fraction(float(bias))


def _at(value: Affine, point: Point) -> Fraction:
    return value[0] * point[0] + value[1] * point[1] + value[2]


def _clip(polygon: list[Point], z: Affine, sign: int) -> list[Point]:
    """The part of a convex polygon where sign z >= 0 (Sutherland and Hodgman)."""
    found: list[Point] = []
    for before, after in zip([polygon[-1], *polygon[:-1]], polygon, strict=True):
        a, b = sign * _at(z, before), sign * _at(z, after)
        if a * b < 0:
            share = a / (a - b)
            found.append((before[0] + share * (after[0] - before[0]), before[1] + share * (after[1] - before[1])))
        if b >= 0:
            found.append(after)
    return found
