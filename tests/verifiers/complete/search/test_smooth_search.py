"""Branch and bound on smooth activations: halves of their intervals are split, and nothing but that is claimed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.complete.planted import PEAK, WIDTH, bump_problem, sigmoid_bump
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.complete.beta_crown import BetaCrown
from verifiers.complete.search.refined_search import RefinedSearch, State, domain_search
from verifiers.complete.search.split_search import SplitSettings
from verifiers.graph import graph_of
from verifiers.lp.input_set import input_set

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU, "mixed": nn.Sigmoid}


def smooth(name: str, seed: int, scale: float = 1.5) -> nn.Sequential:
    """Two inputs, two hidden layers, two outputs."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(((2, 4), (4, 4), (4, 2))):
        layer = nn.Linear(before, after)
        with torch.no_grad():
            layer.weight.copy_(scale * torch.randn(after, before, generator=generator))
            layer.bias.copy_(0.3 * torch.randn(after, generator=generator))
        layers += [layer, nn.ReLU() if name == "mixed" and place else ACTIVATIONS[name]()]
    return nn.Sequential(*layers[:-1])


def never(bounds: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(rows).bool()


def grid(x: torch.Tensor, radius: float, points: int = 401) -> torch.Tensor:
    line = torch.linspace(-1, 1, points, dtype=torch.float64) * radius
    return x.double() + torch.cartesian_prod(line, line)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_domains_prove_what_is_true_and_nothing_else(name, seed):
    """Rows moved so that alpha-CROWN falls short by some of what it loses, or so that they are not positive."""
    module = smooth(name, seed)
    network, x, ball = load_network(module, (2,)), torch.tensor([0.3, -0.2]), Ball("linf", 0.5)
    logits = network.module.double()(grid(x, 0.5)).detach()
    least = float((logits[:, 0] - logits[:, 1]).min())
    network.module.float()
    state = relaxed_input(graph_of(network), x, ball, Deadline())
    start = margin_rows(graph_of(network), 0, torch.tensor([1]))
    settings = SplitSettings(batch=8, schedule=Schedule(4), patience=64)
    with torch.no_grad():
        first, _ = state.raise_rows(start, Schedule(8), never, Deadline())
        assert float(first[0]) <= least + 1e-9
        for gap, provable in ((0.85 * (least - float(first[0])) + 1e-3, True), (-1e-4, False)):
            start.constants.fill_(gap - least)
            bounds, ascent = state.raise_rows(start, Schedule(8), never, Deadline())
            search = RefinedSearch(start, domain_search(start, input_set(x, ball), lambda _: None, settings, False))
            root = State(state, torch.tensor([0]), bounds, ascent)
            result = search.run(root, bounds, Deadline.after(20.0 if provable else 0.5))
            assert (float(result.bounds[0]) > 0) == provable
            assert float(result.bounds[0]) <= gap + 1e-3


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu"])
def test_verdicts_agree_with_a_grid(name):
    module = smooth(name, 7)
    network, x = load_network(module, (2,)), torch.tensor([0.3, -0.2])
    label = int(network(x[None]).argmax())
    verdicts = []
    for radius in np.geomspace(0.005, 0.9, 8):
        outcome = BetaCrown().verify(Problem(network, x, label, Ball("linf", float(radius))), 4.0)
        module.double()
        wrong = bool((module(grid(x, float(radius), 201)).argmax(dim=1) != label).any())
        module.float()
        assert not (outcome.verdict is Verdict.VERIFIED and wrong)
        verdicts.append(outcome.verdict)
    assert Verdict.VERIFIED in verdicts


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.11, -0.2371])
def test_narrow_smooth_bumps_are_never_verified(deep, shift):
    """A bump of width 2^-12 between saturated sigmoids, at several places, alone and below another sigmoid layer."""
    module = sigmoid_bump()
    with torch.no_grad():
        module[0].bias += module[0].weight[:, 0] * shift  # the peak moves to PEAK - shift
    if deep:
        module = nn.Sequential(*module[:3], nn.Linear(1, 1), nn.Sigmoid(), nn.Linear(1, 2))
        with torch.no_grad():
            module[3].weight.fill_(20.0)
            module[3].bias.fill_(-10.0)
            module[5].weight.copy_(torch.tensor([[0.0], [1.0]]))
            module[5].bias.copy_(torch.tensor([0.5, 0.0]))
    peak = torch.tensor([[PEAK - shift, 0.5]])
    network = load_network(module, (2,))
    assert int(network(peak).argmax()) == 1
    x = torch.tensor([PEAK - shift - 0.2, 0.5])
    assert int(network(x[None]).argmax()) == 0
    for branching in ("gap", "kfsb"):
        method = BetaCrown(branching=branching)
        outcome = method.verify(Problem(network, x, 0, Ball("linf", 0.25, 0.0, 1.0)), 1.0)
        assert outcome.verdict is not Verdict.VERIFIED
        free = method.verify(Problem(network, x, 0, Ball("linf", 0.2 - 4 * WIDTH, 0.0, 1.0)), 5.0)
        assert free.verdict is Verdict.VERIFIED


def test_hostile_weights_are_not_verified():
    """sigmoid(2^e + x) and its like cancel: f_0 - f_1 is -1/8 at x = 0, whatever floats make of it."""
    for exponent in (4, 20, 40):
        big = 2.0**exponent
        module = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid(), nn.Linear(2, 2))
        with torch.no_grad():
            module[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
            module[0].bias.zero_()
            # f_0 = big s(x), f_1 = big s(0) + (s(0) - 3/8) on the line: the margin at x = 0 is -1/8
            module[2].weight.copy_(torch.tensor([[big, 0.0], [0.0, big + 1.0 if exponent < 20 else big]]))
            module[2].bias.copy_(torch.tensor([0.0, -0.375 if exponent < 20 else 0.125]))
        network = load_network(module, (1,))
        problem = Problem(network, torch.tensor([0.125]), 0, Ball("linf", 0.125))
        assert BetaCrown().verify(problem, 2.0).verdict is not Verdict.VERIFIED


def test_the_planted_sigmoid_bump_is_searched():
    problem, _ = bump_problem("sigmoid bump", "linf")
    outcome = BetaCrown().verify(problem, 2.0)
    assert outcome.verdict is not Verdict.VERIFIED
    assert outcome.margin is None or outcome.margin <= 0
