"""Branching rules: the published estimates on a small example, and the choice among candidates."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.bounds.optimized.sweep import Trace
from verifiers.complete.beta_crown import BetaCrown
from verifiers.complete.search.branching import Branching, choose, scores
from verifiers.complete.search.domains import Columns
from verifiers.graph import graph_of


def estimates(rule, module, x, radius):
    network = load_network(module, (len(x),))
    state = relaxed_input(graph_of(network), x, Ball("linf", radius), Deadline())
    relus, trace = state.triangles(torch.float32), Trace()
    start = margin_rows(graph_of(network), 0, torch.tensor([1]))
    rough = start.rough(torch.float32)
    with torch.no_grad():
        state.search.lower(rough, relus, relus.adaptive, {}, trace)
        columns = Columns.of(relus)
        return scores(rule, state.search, rough, trace, relus, columns), columns


def two_neurons() -> nn.Sequential:
    """f_0 - f_1 = 2 relu(x + 1/4) - 3 relu(x - 1/2), x in [-1, 1]."""
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.copy_(torch.tensor([0.25, -0.5]))
        module[2].weight.copy_(torch.tensor([[2.0, -3.0], [0.0, 0.0]]))
        module[2].bias.zero_()
    return module


def test_estimates_by_hand():
    """z_1 in [-3/4, 5/4]: a = 2, lower slope 1. z_2 in [-3/2, 1/2]: a = -3, chord 1/4 z + 3/8.

    The line is 2 (x + 1/4) - 3 (x/4 - 1/8 + 3/8), which falls with slope 5/4 to x = -1: there z_1 = -3/4 and the line
    is 3/4 below the ReLU; z_2 = -3/2 and the chord is exact.
    """
    x = torch.zeros(1)
    (gap,), _ = estimates("gap", two_neurons(), x, 1.0)
    assert gap.tolist() == [pytest.approx([2 * 0.75, 0.0], abs=1e-6)]
    (babsr,), _ = estimates("babsr", two_neurons(), x, 1.0)
    # neuron 1: max(b (s - 1) a, b s a) with b = 1/4, s = 5/8, a = 2; neuron 2: max(-1/2 (-3/4) (-3), -1/2 1/4 (-3))
    # and the intercept -3 * 3/8
    assert babsr.tolist() == [pytest.approx([0.25 * 5 / 8 * 2, abs(0.375 - 9 / 8)], abs=1e-6)]
    (_, intercepts), _ = estimates("kfsb", two_neurons(), x, 1.0)
    assert intercepts.tolist() == [pytest.approx([0.0, 9 / 8], abs=1e-6)]
    (influence,), _ = estimates("influence", two_neurons(), x, 1.0)
    assert influence.tolist() == [pytest.approx([2 * 0.75 * 5 / 8, 9 / 8], abs=1e-6)]


@pytest.mark.parametrize("rule", get_args(Branching))
def test_only_what_a_rule_tries_can_win(rule):
    found, columns = estimates(rule, dense([4, 10, 10, 3], 1).float(), torch.zeros(4), 0.5)
    asked: list[tuple[int, int]] = []
    worth = torch.rand(columns.width, 2, generator=torch.Generator().manual_seed(0))

    def attempt(column, sign):
        asked.append((int(column[0]), int(sign[0])))
        return worth[column, (sign > 0).long()]

    chosen, splittable = choose(rule, found, columns, 2, attempt)
    assert bool(splittable[0])
    tried = {column for column, _ in asked}
    if rule in ("fsb", "kfsb"):
        assert set(asked) == {(column, sign) for column in tried for sign in (1, -1)}
        assert len(tried) <= 4  # two estimates: one of each of two layers, or two of all
        best = max(tried, key=lambda column: float(worth[column].min()))
        assert int(chosen[0]) == best
    else:
        assert not asked
        assert int(chosen[0]) == int(found[0].argmax())
    if rule == "fsb":
        layers = {columns.neuron(column)[0] for column in tried}
        assert layers == {index for index, entries in columns.entries.items() if len(entries)}


def test_nothing_to_split():
    found, columns = estimates("kfsb", dense([3, 5, 2], 0).float(), torch.full((3,), 1e3), 1e-6)
    assert columns.width == 0
    assert choose("kfsb", found, columns, 3, lambda column, sign: torch.zeros(1))[1].tolist() == [False]


@pytest.mark.parametrize("seed", range(3))
def test_every_rule_gives_the_same_verdicts(seed):
    network = load_network(dense([4, 12, 12, 3], seed).float(), (4,))
    x = torch.zeros(4)
    label = int(network(x[None]).argmax())
    for radius in (0.1, 0.3, 0.6):
        problem = Problem(network, x, label, Ball("linf", radius))
        verdicts = {BetaCrown(branching=rule).verify(problem, 20.0).verdict for rule in ("gap", "babsr", "fsb", "kfsb")}
        assert len(verdicts) == 1
        assert Verdict.UNKNOWN not in verdicts


def test_an_unknown_rule_is_an_error():
    with pytest.raises(InvalidInput, match="gap, babsr, fsb, kfsb"):
        BetaCrown(branching="random")
