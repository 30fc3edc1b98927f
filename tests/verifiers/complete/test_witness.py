"""Counterexamples are in the ball and the box, in the type of the input, and misclassified."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.evaluation import judge_witness
from sokbench.core.property import Case, Conjunction, Property
from tests.verifiers.lp.nets import layer, network_of
from verifiers.complete import witness as witness_module
from verifiers.complete.witness import LONG, WitnessFinder
from verifiers.graph.rewriting.reduction import reduce_property

LAYERS = [layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), layer([[-1.0, -1.0], [0.0, 0.0]], [1.0, 0.0])]


def finder(norm="linf", dtype=torch.float32, radius=0.4):
    x = torch.tensor([0.3, 0.3], dtype=dtype)
    problem = sokbench.Problem(network_of(LAYERS), x, 0, sokbench.Ball(norm, radius, 0.0, 1.0))
    return problem, WitnessFinder(problem, LAYERS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("point", [[0.7, 0.7], [0.7 + 1e-8, 0.6], [5.0, 5.0]])
def test_suggestions_are_moved_into_the_ball(point, dtype):
    problem, found = finder(dtype=dtype)
    witness = found.at(np.array(point))
    assert witness is not None
    assert witness.dtype == dtype
    assert judge_witness(problem, witness)[0]
    exact = [abs(float(a) - float(b)) for a, b in zip(witness.double(), problem.x.double(), strict=True)]
    assert max(exact) <= 0.4


@pytest.mark.parametrize("point", [[0.3, 0.3], [np.nan, 0.5], [np.inf, 0.5]])
def test_what_is_no_counterexample_is_refused(point):
    assert finder()[1].at(np.array(point)) is None


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_attack_and_descent(norm):
    problem, found = finder(norm, radius=0.5)
    for witness in (found.attack(Deadline()), found.near([np.array([0.3, 0.3])], Deadline())):
        assert witness is not None
        assert judge_witness(problem, witness)[0]
    assert found.near([], Deadline()) is None


def test_an_attack_ends_at_the_first_misclassified_point(monkeypatch):
    _, found = finder(radius=0.5)
    steps = []
    real = witness_module.attacked_margins

    def counted(network, *arguments):
        def logits_of(points):
            steps.append(len(points))
            return network(points)

        return real(logits_of, *arguments)

    monkeypatch.setattr(witness_module, "attacked_margins", counted)
    assert found.attack(Deadline()) is not None
    early = len(steps)
    steps.clear()
    monkeypatch.setattr(WitnessFinder, "_judged", lambda self, candidate: None)
    assert found.attack(Deadline()) is None
    assert early < 10 < len(steps)  # what float64 does not confirm is followed by the whole descent


def test_soft_maxima_find_where_several_rows_are_low():
    """Twelve ridges y_i = |w_i . (x + 0.3)| in 40 dimensions: all have to be below 0.02 at once, and descent on the
    largest of them goes back and forth."""
    generator = torch.Generator().manual_seed(3)
    ridges = torch.randn(12, 40, generator=generator) / 40**0.5
    module = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 12))
    with torch.no_grad():
        module[0].weight.copy_(torch.cat([ridges, -ridges]))
        module[0].bias.copy_(torch.cat([ridges, -ridges]) @ torch.full((40,), 0.3))
        module[2].weight.copy_(torch.cat([torch.eye(12), torch.eye(12)], dim=1))
        module[2].bias.zero_()
    network = sokbench.load_network(module, input_shape=(40,))
    unsafe = Conjunction(np.eye(12), np.full(12, 0.02))
    case = Case(np.full(40, -1.0), np.full(40, 1.0), (unsafe,))
    (reduced,) = reduce_property(network, Property(40, 12, (case,)))
    found = WitnessFinder(reduced.problem).attack(Deadline(), LONG)
    assert found is not None
    assert (network(torch.tensor(reduced.original(found))[None].float()) <= 0.02 + 1e-6).all()
