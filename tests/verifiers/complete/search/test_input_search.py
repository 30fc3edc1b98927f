"""Splitting the input: coverage, both kinds of bounds, agreement with brute force, limits."""

from __future__ import annotations

import copy
import itertools
import time

import numpy as np
import pytest
import torch

import sokbench
from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.network import Network
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.core.property import Case, Conjunction, Property
from sokbench.decision import decide
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense, exact_minimum, graph_for
from verifiers.bounds.optimized.many_boxes import BoxResult
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.bounds.sets.inputs import Interval
from verifiers.complete.few_inputs import few_inputs
from verifiers.complete.search import input_search
from verifiers.complete.search.input_search import Boxes, box_bounder, engine_bounder, search_boxes


def whole(inputs: int, low: float, high: float, margins: int = 1) -> Boxes:
    sides = (torch.full((1, inputs), side, dtype=torch.float64) for side in (low, high))
    return Boxes.root(Interval(*sides), torch.full((margins,), -torch.inf, dtype=torch.float64), {})


def single(module: torch.nn.Sequential) -> tuple[Network, torch.nn.Sequential]:
    """(a network in float32, the same weights in float64)."""
    module = module.float()
    return load_network(module, (module[0].in_features,)), copy.deepcopy(module).double()


@pytest.mark.parametrize("kind", ["boxes", "engine"])
def test_both_bounds_decide(kind):
    graph = graph_for(dense([3, 8, 8, 3], 2), (3,))
    label = int(graph.forward(torch.zeros(1, 3, dtype=torch.float64)).argmax())
    others = torch.tensor([other for other in range(3) if other != label])
    root = relaxed_input(graph, torch.zeros(3), Ball("linf", 0.004), Deadline())
    boxes, bounder = whole(3, -0.004, 0.004, 2), engine_bounder(graph, label, Deadline())
    if kind == "boxes":
        known = torch.full((2,), -torch.inf, dtype=torch.float64)
        boxes = Boxes.root(root.exact.inputs.interval(), known, dict(root.bounds))
        bounder = box_bounder(root, margin_rows(graph, label, others), Deadline())
    found = search_boxes(boxes, bounder, lambda _: None, 8, Deadline.after(20.0))
    assert found.left == 0
    assert found.bound > 0
    assert not found.stuck


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_every_point_of_the_input_lies_in_a_box_that_was_closed(memory, monkeypatch):
    """Bounds close boxes at random, and what was closed covers the whole; also when the search goes deep first."""
    monkeypatch.setattr(input_search, "_BYTES", memory)
    generator = torch.Generator().manual_seed(0)
    closed = []

    def bounder(some):
        bound = torch.where(torch.rand(len(some.lower), generator=generator) < 0.6, 1.0, -1.0).double()
        bound = torch.where((some.upper - some.lower).amax(dim=1) < 0.1, 1.0, bound)
        closed.extend(zip(some.lower[bound > 0], some.upper[bound > 0], strict=True))
        influence = torch.rand(some.lower.shape, generator=generator, dtype=torch.float64)
        return BoxResult(bound[:, None], influence * (some.upper - some.lower), some.lower, {})

    found = search_boxes(whole(2, 0.0, 1.0), bounder, lambda _: None, 4, Deadline())
    assert found.left == 0
    assert found.bound == 1.0
    points = torch.rand(2000, 2, dtype=torch.float64)
    inside = [((points >= low) & (points <= up)).all(dim=1) for low, up in closed]
    assert torch.stack(inside).any(dim=0).all()


def test_open_boxes_count_when_time_runs_out():
    """The boxes that were being bounded are not lost."""
    calls = []

    def bounder(some):
        calls.append(len(some.lower))
        if len(calls) == 4:
            raise OutOfTime
        return BoxResult(torch.full((len(some.lower), 1), -2.0).double(), some.upper - some.lower, some.lower, {})

    found = search_boxes(whole(2, 0.0, 1.0), bounder, lambda _: None, 64, Deadline())
    assert calls == [1, 2, 4, 8]
    assert (found.left, found.boxes, found.bound) == (8, 7, -2.0)


def test_a_margin_of_zero_ends_the_search():
    """|x - 1/3| is never below zero and never positive everywhere: boxes around 1/3 stay open until they are tiny."""

    def bounder(some):
        inside = (some.lower <= 1 / 3) & (some.upper >= 1 / 3)
        distance = torch.minimum((some.lower - 1 / 3).abs(), (some.upper - 1 / 3).abs())
        return BoxResult(torch.where(inside, 0.0, distance), some.upper - some.lower, some.lower, {})

    found = search_boxes(whole(1, 0.0, 1.0), bounder, lambda _: None, 4, Deadline())
    assert found.stuck
    assert found.left > 0
    assert found.bound == 0.0


def test_a_witness_ends_the_search():
    def bounder(some):
        return BoxResult(torch.full((len(some.lower), 1), -1.0).double(), some.upper - some.lower, some.upper, {})

    seen = []

    def witness(points):
        seen.append(points)
        return points[-1] if len(seen) == 3 else None

    found = search_boxes(whole(2, 0.0, 1.0), bounder, witness, 4, Deadline())
    assert found.witness is not None
    assert torch.equal(seen[0], torch.tensor([[0.5, 0.5], [1.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_brute_force(seed):
    """Radii a little below and above the exact one at which the margin reaches zero."""
    network, module = single(dense([2, 5, 2], seed))
    x = torch.zeros(2)
    logits = module(x[None].double())[0]
    label = int(logits.argmax())
    direction = np.array([1.0, -1.0]) if label == 0 else np.array([-1.0, 1.0])
    low, high = 0.0, 4.0
    if exact_minimum(module, np.zeros(2), high, direction) > 0:
        low = high
    else:
        for _ in range(10):
            middle = (low + high) / 2
            low, high = (middle, high) if exact_minimum(module, np.zeros(2), middle, direction) > 0 else (low, middle)
    inside = sokbench.method("reluval").verify(Problem(network, x, label, Ball("linf", low * 0.99)), 10.0)
    assert inside.verdict is Verdict.VERIFIED
    if low < 4.0:
        assert inside.margin <= exact_minimum(module, np.zeros(2), low * 0.99, direction) + 1e-9
        outside = sokbench.method("reluval").verify(Problem(network, x, label, Ball("linf", high * 1.01)), 10.0)
        assert outside.verdict is Verdict.FALSIFIED


def wide(seed: int) -> tuple[Problem, int]:
    """A network of three inputs with many unstable neurons, and a radius that CROWN cannot prove."""
    module = dense([3, 40, 40, 40, 2], seed)
    network, module = single(module)
    x = torch.zeros(3)
    label = int(module(x[None].double())[0].argmax())
    return Problem(network, x, label, Ball("linf", 0.5)), label


@pytest.mark.parametrize("slug", ["reluval", "beta_crown", "neurify"])
def test_methods_split_few_inputs(slug):
    """Where inputs are few and unstable neurons many, three methods split the input, with one verdict."""
    verdicts = set()
    for seed, factor in itertools.product(range(3), (0.5, 1.0)):
        problem, label = wide(seed)
        problem = Problem(problem.network, problem.x, label, problem.ball.with_radius(0.5 * factor))
        outcome = sokbench.method(slug).verify(problem, 20.0)
        verdicts.add(outcome.verdict)
        if outcome.verdict is Verdict.VERIFIED:
            points = problem.ball.radius * (2 * torch.rand(5000, 3) - 1)
            with torch.no_grad():
                logits = problem.network(points)
            assert float((logits[:, label] - logits[:, 1 - label]).min()) >= outcome.margin - 1e-5
            assert outcome.stats["decided_by"] in ("input_search", "crown", "fastlin")
    assert Verdict.UNKNOWN not in verdicts


@pytest.mark.parametrize("slug", ["reluval", "beta_crown"])
@pytest.mark.parametrize("seed", range(4))
def test_unsafe_sets_of_two_rows(slug, seed):
    """y_0 <= b and y_1 <= b at once: thresholds around what sampling finds decide which answer is right."""
    network, module = single(dense([3, 30, 30, 2], seed))
    points = torch.rand(20000, 3, dtype=torch.float64) - 0.5
    with torch.no_grad():
        least = float(module(points).amax(dim=1).min())
    half = np.full(3, 0.5)
    for bound, answers in ((least + 1e-4, {Verdict.FALSIFIED}), (least - 0.3, {Verdict.VERIFIED, Verdict.FALSIFIED})):
        unsafe = Conjunction(np.eye(2), np.full(2, bound))
        outcome = decide(sokbench.method(slug), network, Property(3, 2, (Case(-half, half, (unsafe,)),)), 20.0)
        assert outcome.verdict in answers
        if outcome.verdict is Verdict.VERIFIED:
            assert outcome.margin <= least - bound
        else:
            with torch.no_grad():
                assert float(module(outcome.witness.double()[None]).amax()) <= bound + 1e-5


def test_which_problems_have_few_inputs():
    def state(sizes, radius):
        return relaxed_input(
            graph_for(dense(sizes, 0), (sizes[0],)), torch.zeros(sizes[0]), Ball("linf", radius), Deadline()
        )

    assert few_inputs(state([3, 40, 40, 2], 0.5))
    assert not few_inputs(state([3, 8, 2], 0.5))
    assert not few_inputs(state([40, 60, 60, 2], 0.5))


def test_the_limit_is_kept():
    network, module = single(dense([12, 60, 60, 60, 60, 2], 3))
    x = torch.zeros(12)
    label = int(module(x[None].double())[0].argmax())
    problem = Problem(network, x, label, Ball("linf", 0.35))
    began = time.monotonic()
    outcome = sokbench.method("reluval").verify(problem, 1.0)
    assert time.monotonic() - began < 4.0
    if outcome.verdict is Verdict.UNKNOWN:
        assert outcome.termination is Termination.TIMEOUT
        assert outcome.margin <= 0
        assert outcome.stats["open"] > 0


def test_other_activations():
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    network, x = load_network(module, (2,)), torch.tensor([0.4, 0.6])
    label = int(network(x[None]).argmax())
    verdicts = {float(radius): sokbench.method("reluval").verify(
        Problem(network, x, label, Ball("linf", float(radius))), 5.0).verdict for radius in (0.01, 5.0)}  # fmt: skip
    assert verdicts[0.01] is Verdict.VERIFIED
    assert verdicts[5.0] is not Verdict.VERIFIED or label == int(network(x[None] + 5.0).argmax())
