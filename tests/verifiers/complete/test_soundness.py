"""No tolerance: bounds of all solver methods against margins in rational arithmetic, at points where they are tight."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.outcome import Verdict
from tests.verifiers.lp.nets import exact_minimum, layer, network_of, random_chain
from verifiers.lp.input_set import input_set

BOUNDING = ("lp_full", "sdp_verify")


def rational_logits(layers, x) -> list[Fraction]:
    values = [Fraction(float(v)) for v in x]
    for depth, one in enumerate(layers):
        values = [
            sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(one.weight.toarray(), one.bias, strict=True)
        ]
        if depth < len(layers) - 1:
            values = [max(v, Fraction(0)) for v in values]
    return values


def hostile_chain(rng: np.random.Generator, scale: float):
    """A random chain with two outputs whose middle layer is scaled up and whose last layer cancels most of it."""
    layers = random_chain(rng, (2, 4, 4, 2))
    pairs = layers[1].weight.toarray() * scale
    pairs[1::2] = pairs[::2] * (1 + 1e-6 * rng.normal(size=(2, 1)))
    pairs = pairs.astype(np.float32)
    bias = np.repeat(layers[1].bias[::2] * scale, 2).astype(np.float32)
    last = layers[2].weight.toarray()
    last[:, 1::2] = -last[:, ::2]
    return [layers[0], layer(pairs, bias), layer(last, layers[2].bias)]


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("seed", range(6))
def test_bounds_never_pass_an_exact_margin(seed, scale):
    rng = np.random.default_rng(seed)
    layers = hostile_chain(rng, scale)
    network = network_of(layers)
    x = torch.tensor(rng.normal(size=2), dtype=torch.float32)
    ball = sokbench.Ball("linf", 0.25)
    inputs = input_set(x, ball)
    center = x.double().numpy()
    # just inside the ball, so that no rounding of the box is in the way
    _, minimiser = exact_minimum(layers, inputs, np.array([1.0, -1.0]))
    points = [center + np.clip(minimiser - center, -0.25, 0.25) * (1 - 1e-15)]
    points += list(center + rng.uniform(-0.25, 0.25, size=(10, 2)))
    exact = [margin[0] - margin[1] for margin in (rational_logits(layers, point) for point in points)]
    for slug in BOUNDING:
        low = sokbench.method(slug).margins(network, x[None], torch.tensor([0]), ball)
        assert all(Fraction(float(low[0, 1])) <= value for value in exact)
    outcome = sokbench.method("milp").verify(sokbench.Problem(network, x, 0, ball), 20.0)
    if outcome.margin is not None:
        assert all(Fraction(outcome.margin) <= value for value in exact)
    if min(exact) <= 0:
        assert outcome.verdict is not Verdict.VERIFIED


@pytest.mark.parametrize("exponent", [10, 30, 60])
def test_a_sum_that_floating_point_loses_is_not_lost(exponent):
    """f_0 - f_1 = (2^e + s) - 2^e - 3/4 with s = relu(x) in [0, 1/2]: at least -3/4 and at most -1/4, but in floating
    point 2^e + s may round to 2^e (Zombori et al., Fooling a complete neural network verifier, ICLR 2021)."""
    big = 2.0**exponent
    layers = [
        layer([[1.0], [0.0]], [0.0, 1.0]),
        layer([[1.0, big], [0.0, big]], [0.0, 0.0]),
        layer([[1.0, -1.0], [0.0, 0.0]], [0.0, 0.75]),
    ]
    problem = sokbench.Problem(network_of(layers), torch.tensor([0.25]), 1, sokbench.Ball("linf", 0.25))
    # class 1 leads by 1/4 at least in real arithmetic
    for slug in BOUNDING:
        low = sokbench.method(slug).margins(problem.network, problem.x[None], torch.tensor([1]), problem.ball)
        assert float(low[0, 0]) <= 0.25
    outcome = sokbench.method("milp").verify(problem)
    assert outcome.margin is None or outcome.margin <= 0.25
    wrong = sokbench.Problem(problem.network, problem.x, 0, problem.ball)
    assert sokbench.method("milp").verify(wrong).verdict is not Verdict.VERIFIED
