"""States searched by linear programs: sound on the part that the splits leave, and aware of the splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.lp.nets import exact_minimum, network_of, random_chain
from verifiers.bounds.optimized.ascent import Ascent
from verifiers.bounds.optimized.margins import relaxed_input
from verifiers.complete.search import state_programs
from verifiers.complete.search.domains import Columns
from verifiers.complete.search.phase_search import Patience
from verifiers.complete.search.refined_search import State
from verifiers.complete.search.state_programs import StatePrograms
from verifiers.graph import graph_of
from verifiers.lp.chain import chain_of
from verifiers.lp.input_set import input_set


def searched(problem: Problem, neuron: int, sign: int) -> Tensor:
    """Bounds of the margins where a neuron of the first layer has one phase, +1 for z <= 0, with CROWN's bounds."""
    root = relaxed_input(graph_of(problem.network), problem.x, problem.ball, Deadline())
    reduced, kept = root.reduced()
    relu = root.graph.relus[0]
    half = reduced.fix(relu, int((kept[relu] == neuron).nonzero()), sign)
    others = [other for other in range(problem.network.num_classes) if other != problem.label]
    programs = StatePrograms(
        chain_of(problem.network), input_set(problem.x, problem.ball), root, kept, problem.label, others, lambda _: None
    )
    nothing = torch.full((len(others),), -torch.inf, dtype=torch.float64)
    state = State(half, torch.arange(len(others)), nothing, Ascent({}, {}, nothing))
    return programs(state, Columns.of(reduced.triangles(torch.float32)), Deadline()).bounds


def test_a_split_bounds_the_inputs_too():
    """m(x) = 0.8 - relu(x + 0.5) falls to -0.7 on [-1, 1]; where x <= 0 it is at least 0.3. CROWN's chord of the second
    neuron shows that only to a program that knows x <= 0."""
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.copy_(torch.tensor([0.0, 0.5]))
        module[2].weight.copy_(torch.tensor([[0.0, -1.0], [0.0, 0.0]]))
        module[2].bias.copy_(torch.tensor([0.8, 0.0]))
        problem = Problem(load_network(module, (1,)), torch.tensor([0.0]), 0, Ball("linf", 1.0))
        assert float(searched(problem, 0, 1)) > 0
        assert float(searched(problem, 0, -1)) < 0


def random_problem(seed: int, sizes: tuple[int, ...], radius: float) -> tuple[list, Problem]:
    """(layers, robustness of the class at a random point)"""
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    network = network_of(layers)
    x = torch.tensor(rng.normal(size=sizes[0]), dtype=torch.float32)
    with torch.no_grad():
        return layers, Problem(network, x, int(network(x[None]).argmax()), Ball("linf", radius))


@pytest.mark.parametrize("seed", range(12))
def test_a_state_is_never_proved_where_a_point_of_it_refutes(seed):
    layers, problem = random_problem(seed, (3, 6, 5, 3), 0.3)
    label = problem.label
    with torch.no_grad():
        points = problem.x + (torch.rand(4000, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * 0.3
        logits = problem.network(points).double()
        first = points.double().numpy() @ layers[0].weight.toarray().T + layers[0].bias
        others = [other for other in range(3) if other != label]
        for neuron in np.flatnonzero((first.min(axis=0) < -1e-3) & (first.max(axis=0) > 1e-3)).tolist():
            for sign in (1, -1):
                inside = torch.tensor(first[:, neuron] * sign <= 0)
                least = (logits[:, [label]] - logits[:, others])[inside].amin(dim=0)
                assert (searched(problem, neuron, sign) <= least + 1e-5).all()


def test_milp_decides_with_states_of_refreshed_bounds(monkeypatch):
    """With the patience of one program for a state, against brute force."""
    monkeypatch.setattr(state_programs, "_PATIENCE", Patience(1))
    refreshed = 0
    for seed in range(12):
        layers, problem = random_problem(100 + seed, (4, 10, 8, 2), 0.35)
        row = np.eye(2)[problem.label] - np.eye(2)[1 - problem.label]
        exact = exact_minimum(layers, input_set(problem.x, problem.ball), row)[0]
        outcome = sokbench.method("milp").verify(problem, 60.0)
        refreshed += outcome.stats.get("states", 0) > 1
        if abs(exact) > 1e-5:
            assert outcome.verdict is (Verdict.VERIFIED if exact > 0 else Verdict.FALSIFIED)
    assert refreshed
