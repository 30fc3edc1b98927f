"""SDP-Verify as a method: order among bounds, degenerate problems, limits, hostile weights."""

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

METHOD = sokbench.method("sdp_verify")


def problem_of(seed: int, sizes=(4, 6, 5, 3), radius=0.4):
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    x = torch.tensor(rng.normal(size=(2, sizes[0])), dtype=torch.float32)
    return layers, network_of(layers), x, torch.tensor([0, 1]), sokbench.Ball("linf", radius, -1.5, 1.5)


@pytest.mark.parametrize("seed", range(4))
def test_between_linear_relaxation_and_the_optimum(seed):
    layers, network, x, labels, ball = problem_of(seed, (3, 5, 3))
    x = x.clamp(-1.5, 1.5)
    low = METHOD.margins(network, x, labels, ball)
    crown = margin_bounds(graph_of(network), x, labels, ball, "crown")
    assert bool((low >= crown).all())
    gained = 0.0
    for row in range(2):
        for other in range(3):
            if other != int(labels[row]):
                direction = np.eye(3)[int(labels[row])] - np.eye(3)[other]
                exact, _ = exact_minimum(layers, input_set(x[row], ball), direction)
                assert float(low[row, other]) <= exact + 1e-8
                gained += float(low[row, other] - crown[row, other])
    assert gained > 0.0


def test_a_limit_leaves_sound_bounds_for_all_classes():
    _, network, x, labels, ball = problem_of(0, (3, 5, 3))
    x = x.clamp(-1.5, 1.5)
    unlimited = METHOD.margins(network, x, labels, ball)
    hurried = METHOD.margins(network, x, labels, ball, Deadline.after(60.0))
    crown = margin_bounds(graph_of(network), x, labels, ball, "crown")
    assert bool((hurried >= crown).all())
    assert bool((hurried <= unlimited + 1e-2 * (1 + unlimited.abs().nan_to_num(posinf=0.0))).all())


def test_radius_zero_and_networks_without_unstable_neurons():
    _, network, x, labels, _ = problem_of(1)
    low = METHOD.margins(network, x, labels, sokbench.Ball("linf", 0.0))
    with torch.no_grad():
        logits = network(x)
    expected = logits.gather(1, labels[:, None]) - logits
    others = torch.isfinite(low)
    assert torch.allclose(low[others], expected[others].double(), atol=1e-4)


def test_other_norms_are_unsupported():
    _, network, x, labels, _ = problem_of(0)
    for norm in ("l1", "l2"):
        with pytest.raises(sokbench.Unsupported):
            METHOD.margins(network, x, labels, sokbench.Ball(norm, 0.1))


@pytest.mark.parametrize("big", [1e6, 1e10])
def test_cancelling_weights_are_never_verified_wrongly(big):
    """f_0 - f_1 = big relu(x) - big relu(x) - 1e-3 with x from -0.1 to 0.5."""
    layers = [layer([[1.0], [1.0]], [0.0, 0.0]), layer([[big, -big], [0.0, 0.0]], [0.0, 1e-3])]
    low = METHOD.margins(network_of(layers), torch.tensor([[0.2]]), torch.tensor([0]), sokbench.Ball("linf", 0.3))
    assert float(low[0, 1]) <= -9.9e-4


@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_limits_are_kept_and_what_was_proved_is_returned(limit):
    rng = np.random.default_rng(0)
    network = network_of(random_chain(rng, (300, 120, 120, 120, 10)))
    x = torch.tensor(rng.normal(size=(1, 300)), dtype=torch.float32)
    METHOD.prepare(network)
    began = time.monotonic()
    with pytest.raises(OutOfTime) as late:
        METHOD.margins(network, x, torch.tensor([0]), sokbench.Ball("linf", 0.05), Deadline.after(limit))
    # 10% of the limit, and what a busy machine may add
    assert time.monotonic() - began < 1.1 * limit + 1.5
    crown = margin_bounds(graph_of(network), x, torch.tensor([0]), sokbench.Ball("linf", 0.05), "crown")
    assert late.value.margins is not None
    assert bool((late.value.margins >= crown).all())
