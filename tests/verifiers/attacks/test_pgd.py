"""PGD finds the exact optimum of linear networks and planted counterexamples, and never leaves the ball."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.evaluation import in_ball, judge_witness
from sokbench.core.method import Attack
from sokbench.core.network import Network
from sokbench.core.problem import Ball, Problem
from tests.verifiers.attacks.linear_networks import exact_least_margin, linear_network
from verifiers.graph import GraphModule, trace

NORMS = ["linf", "l2", "l1"]


def pgd(**parameters: int | float) -> Attack:
    method = sokbench.method("pgd", **parameters)
    assert isinstance(method, Attack)
    return method


def random_linear(seed: int, classes: int = 4, inputs: int = 12) -> Network:
    generator = torch.Generator().manual_seed(seed)
    return linear_network(torch.randn(classes, inputs, generator=generator), torch.randn(classes, generator=generator))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_exact_optimum_of_linear_networks(norm: str, seed: int) -> None:
    network = random_linear(seed)
    x = torch.rand(12, generator=torch.Generator().manual_seed(100 + seed))
    label = int(network(x[None]).argmax())
    ball = Ball(norm, 0.2)  # type: ignore[arg-type]
    found = pgd().search(Problem(network, x, label, ball), Deadline())
    exact = exact_least_margin(network, x, label, norm, 0.2)
    _, margin = judge_witness(Problem(network, x, label, ball), found)
    # every wrong class has a restart of its own, and towards one class the problem is linear
    assert margin == pytest.approx(exact, rel=1e-4, abs=1e-4)
    assert margin >= exact - 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_falsifies_just_above_the_exact_radius_and_not_below(norm: str) -> None:
    network = random_linear(7)
    x = torch.rand(12, generator=torch.Generator().manual_seed(8))
    label = int(network(x[None]).argmax())
    clean = exact_least_margin(network, x, label, norm, 0.0)
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if exact_least_margin(network, x, label, norm, middle) > 0 else (low, middle)
    assert clean > 0
    above = pgd().verify(Problem(network, x, label, Ball(norm, 1.01 * high)))  # type: ignore[arg-type]
    below = pgd().verify(Problem(network, x, label, Ball(norm, 0.99 * low)))  # type: ignore[arg-type]
    assert above.verdict == "falsified"
    assert above.witness is not None
    assert below.verdict == "unknown"
    assert below.witness is None
    assert below.stats["attained_margin"] > 0


def convolutional(seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    return Network("small", module.eval(), (1, 6, 6), 5, "0" * 64)


@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_ball_and_box_and_lowers_the_margin(norm: str) -> None:
    network = convolutional(0)
    for seed in range(3):
        x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(seed))
        label = int(network(x[None]).argmax())
        ball = Ball(norm, {"linf": 0.1, "l2": 0.5, "l1": 1.5}[norm], 0.0, 1.0)  # type: ignore[arg-type]
        problem = Problem(network, x, label, ball)
        found = pgd(steps=30, relative_step=0.1).search(problem, Deadline())
        assert in_ball(found, x, ball)
        assert judge_witness(problem, found)[1] < judge_witness(problem, x)[1]


def test_more_restarts_are_never_worse() -> None:
    network = convolutional(1)
    x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(3))
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.2, 0.0, 1.0))
    margins = [
        judge_witness(problem, pgd(steps=5, relative_step=0.3, restarts=count).search(problem, Deadline()))[1]
        for count in (1, 3, 9)
    ]
    assert margins[0] + 1e-6 >= margins[1]
    assert margins[1] + 1e-6 >= margins[2]


def test_same_seed_same_answer() -> None:
    network = convolutional(2)
    x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(4))
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("l2", 0.5, 0.0, 1.0))
    first = pgd(steps=10, seed=3).search(problem, Deadline())
    torch.manual_seed(99)
    assert torch.equal(first, pgd(steps=10, seed=3).search(problem, Deadline()))


def test_a_passed_deadline_returns_a_point_at_once() -> None:
    calls = 0

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return torch.stack([x.sum(dim=1), -x.sum(dim=1)], dim=1)

    network = Network("counting", Counting(), (3,), 2, "0" * 64)
    x = torch.ones(3)
    found = pgd(restarts=1).search(Problem(network, x, 0, Ball("linf", 0.1)), Deadline(at=0.0))
    # the targets, one evaluation of the start, and the choice among the restarts
    assert calls == 3
    assert torch.equal(found, x)


def test_float64_inputs_and_networks() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    for network in (linear_network(weight, torch.zeros(2)), linear_network(weight.float(), torch.zeros(2))):
        x = torch.tensor([0.6, 0.4], dtype=torch.float64)
        outcome = pgd().verify(Problem(network, x, 0, Ball("linf", 0.11, 0.0, 1.0)))
        assert outcome.verdict == "falsified"
        assert pgd().verify(Problem(network, x, 0, Ball("linf", 0.09, 0.0, 1.0))).verdict == "unknown"


def test_networks_whose_weights_are_buffers() -> None:
    layer = nn.Linear(4, 3)
    network = Network("graph", GraphModule(trace(layer, (4,))), (4,), 3, "0" * 64)
    assert not list(network.module.parameters())
    x = torch.rand(4, dtype=torch.float64)
    label = int(layer(x.float()[None]).argmax())
    assert pgd().verify(Problem(network, x, label, Ball("linf", 50.0))).verdict == "falsified"


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"restarts": 0}, {"relative_step": 0.0}])
def test_bad_parameters(parameters: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="pgd needs"):
        sokbench.method("pgd", **parameters)


def test_l0_is_unsupported() -> None:
    network = random_linear(0)
    x = torch.zeros(12)
    label = int(network(x[None]).argmax())
    assert pgd().verify(Problem(network, x, label, Ball("l0", 1.0))).termination == "unsupported"
