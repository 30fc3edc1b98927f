"""Conjunctions, limits and what is reported of a search."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.core.property import Case, Conjunction, Property
from sokbench.decision import decide
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.complete.beta_crown import BetaCrown
from verifiers.graph import graph_of
from verifiers.graph.rewriting.reduction import reduce_property


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [2, 3, 6])
def test_slopes_of_the_maximum_are_the_multipliers_of_a_conjunction(seed, rows):
    """An unsafe set {W y <= b} is missed if min_x max_i (W y - b)_i > 0. max(a, b) = b + relu(a - b), and the lower
    line alpha (a - b) of that ReLU gives alpha a + (1 - alpha) b: the slopes are a convex combination of the rows,
    and the best one is the optimum, here of a linear network, where it is that of a linear program."""
    rng = np.random.default_rng(seed)
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rng.normal(size=(4, 3))))
        layer.bias.copy_(torch.tensor(rng.normal(size=4)))
    network = load_network(nn.Sequential(layer), (3,))
    weight = rng.normal(size=(rows, 4)).astype(np.float32).astype(np.float64)
    asked = Property(3, 4, (Case(-np.ones(3), np.ones(3), (Conjunction(weight, np.zeros(rows)),)),))
    (reduced,) = reduce_property(network, asked)
    graph, problem = graph_of(reduced.problem.network), reduced.problem
    affine = weight @ layer.weight.detach().double().numpy(), weight @ layer.bias.detach().double().numpy()
    # min t with rows x + offset <= t on the box
    exact = linprog([0, 0, 0, 1], np.hstack([affine[0], -np.ones((rows, 1))]), -affine[1],
                    bounds=[(-1, 1)] * 3 + [(None, None)]).fun  # fmt: skip
    state = relaxed_input(graph, problem.x, problem.ball, Deadline())
    if state is None:
        pytest.skip("one row is the largest everywhere")
    with torch.no_grad():
        bounds, _ = state.raise_rows(
            margin_rows(graph, 0, torch.tensor([1])), Schedule(200), lambda b, _: torch.zeros_like(b).bool(), Deadline()
        )
    assert float(bounds[0]) <= exact + 1e-9
    assert float(bounds[0]) >= exact - 0.05 * (1 + abs(exact))


def hard(activation: type[nn.Module]) -> Problem:
    module = dense([20, 80, 80, 80, 80, 4], 0, 1.5).float()
    layers = [activation() if isinstance(layer, nn.ReLU) else layer for layer in module]
    network = load_network(nn.Sequential(*layers), (20,))
    x = torch.zeros(20)
    return Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.2))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_limits_are_kept_and_what_was_proved_is_returned(activation, limit):
    problem = hard(activation)
    graph_of(problem.network)  # traced before, as `prepare` does
    began = time.monotonic()
    outcome = BetaCrown().verify(problem, limit)
    assert time.monotonic() - began < 2.0 * limit + 1.0  # generous: other work may be running
    if outcome.verdict is Verdict.UNKNOWN:
        assert outcome.termination is Termination.TIMEOUT
        assert outcome.margin is not None


def test_domains_and_seconds_are_reported():
    network = load_network(dense([4, 16, 16, 3], 3).float(), (4,))
    x = torch.zeros(4)
    label, found = int(network(x[None]).argmax()), []
    for radius in np.linspace(0.1, 0.6, 8):
        stats = BetaCrown().verify(Problem(network, x, label, Ball("linf", float(radius))), 20.0).stats
        found.append(stats)
    searched = [stats for stats in found if stats.get("domains")]
    assert searched
    assert all(stats["search_seconds"] > 0 for stats in searched)


def test_smooth_networks_under_a_property():
    """The margin of a property on a sigmoid network is proved by its tangents where CROWN falls short."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 12), nn.Sigmoid(), nn.Linear(12, 12), nn.Sigmoid(), nn.Linear(12, 3))
    with torch.no_grad():
        for layer in module[::2]:
            layer.weight.mul_(4.0)
    network, centre, radius = load_network(module, (4,)), np.array([0.25, 0.5, -0.5, 0.125]), 0.25
    weight = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    points = torch.tensor(centre + radius * np.random.default_rng(0).uniform(-1, 1, (20000, 4)), dtype=torch.float32)
    least = float((module(points).detach().double().numpy() @ weight.T).max(axis=1).min())
    verdicts = []
    for gap in (-0.01, 2.0):
        bound = np.full(2, float(np.float32(least - gap)))
        asked = Property(4, 3, (Case(centre - radius, centre + radius, (Conjunction(weight, bound),)),))
        verdicts.append(decide(BetaCrown(), network, asked, 5.0).verdict)
    assert verdicts[0] is not Verdict.VERIFIED
    assert verdicts[1] is Verdict.VERIFIED
