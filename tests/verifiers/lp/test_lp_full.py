"""LP-Full as a method: order among bounds, exactness, norms, limits, hostile weights."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.deadline import Deadline, OutOfTime
from tests.verifiers.lp.nets import exact_minimum, layer, network_of, random_chain
from verifiers.bounds import margin_bounds
from verifiers.graph import graph_of
from verifiers.lp.input_set import input_set

METHOD = sokbench.method("lp_full")


def problem_of(seed: int, sizes=(4, 6, 5, 3), norm="linf", radius=0.3):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    x = torch.tensor(rng.normal(size=(2, sizes[0])), dtype=torch.float32)
    return layers, network_of(layers), x, torch.tensor([0, 1]), sokbench.Ball(norm, radius)


@pytest.mark.parametrize("norm", ["linf", "l1"])
@pytest.mark.parametrize("seed", range(4))
def test_between_crown_and_the_optimum(seed, norm):
    layers, network, x, labels, ball = problem_of(seed, (3, 4, 3, 3), norm)
    low = METHOD.margins(network, x, labels, ball)
    crown = margin_bounds(graph_of(network), x, labels, ball, "crown")
    assert bool((low >= crown).all())
    for row in range(2):
        for other in range(3):
            if other != int(labels[row]):
                direction = np.eye(3)[int(labels[row])] - np.eye(3)[other]
                exact, _ = exact_minimum(layers, input_set(x[row], ball), direction)
                assert float(low[row, other]) <= exact + 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_exact_without_unstable_neurons(seed):
    layers, network, x, labels, ball = problem_of(seed, radius=1e-4)
    low = METHOD.margins(network, x, labels, ball)
    direction = np.eye(3)[0] - np.eye(3)[1]
    exact, _ = exact_minimum(layers, input_set(x[0], ball), direction)
    assert float(low[0, 1]) == pytest.approx(exact, abs=1e-6)


def test_radius_zero_is_the_network_itself():
    _, network, x, labels, _ = problem_of(1)
    low = METHOD.margins(network, x, labels, sokbench.Ball("linf", 0.0))
    logits = network.module.double()(x.double())
    network.module.float()
    expected = logits.gather(1, labels[:, None]) - logits
    others = torch.isfinite(low)
    assert torch.allclose(low[others], expected[others], atol=1e-6)
    assert bool((low[others] <= expected[others] + 1e-12).all())


def test_other_norms_are_unsupported():
    _, network, x, labels, _ = problem_of(0)
    with pytest.raises(sokbench.Unsupported):
        METHOD.margins(network, x, labels, sokbench.Ball("l2", 0.1))


@pytest.mark.parametrize("big", [1e6, 1e10, 1e14])
def test_cancelling_weights_are_never_verified_wrongly(big):
    """f_0 - f_1 = big x - big x - 1e-3: exactly -1e-3, but lost in the rounding of a careless bound."""
    layers = [layer([[1.0], [1.0]], [2.0, 2.0]), layer([[big, -big], [0.0, 0.0]], [0.0, 1e-3])]
    network = network_of(layers)
    x = torch.tensor([[0.25]])
    low = METHOD.margins(network, x, torch.tensor([0]), sokbench.Ball("linf", 0.125))
    assert float(low[0, 1]) <= -9.9e-4


def test_limit_gives_sound_bounds_in_time():
    rng = np.random.default_rng(0)
    network = network_of(random_chain(rng, (60, 150, 150, 150, 10)))
    x = torch.tensor(rng.normal(size=(1, 60)), dtype=torch.float32)
    ball = sokbench.Ball("linf", 0.2)
    METHOD.prepare(network)
    began = time.monotonic()
    with pytest.raises(OutOfTime) as late:
        METHOD.margins(network, x, torch.tensor([0]), ball, Deadline.after(1.0))
    # 10% of the limit, and what a busy machine may add
    assert time.monotonic() - began < 1.1 + 1.0
    crown = margin_bounds(graph_of(network), x, torch.tensor([0]), ball, "crown")
    assert late.value.margins is not None
    assert bool((late.value.margins >= crown).all())
