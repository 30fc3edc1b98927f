"""Bounds with free slopes and multipliers: gradients, optima, soundness."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.problem import Ball
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import convolutional, dense, graph_for, margins_at, points_in
from verifiers.bounds import margin_bounds
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import margin_rows, optimized_margins, relaxed_input
from verifiers.bounds.optimized.relaxed import both_sides, tighten
from verifiers.bounds.optimized.sweep import Start, Sweep, Trace, gradients, triangles
from verifiers.bounds.rounding import Nearest
from verifiers.bounds.sets.inputs import input_set
from verifiers.lp.chain import instances
from verifiers.lp.tighten import relax


def never(bounds, rows):
    return torch.zeros_like(rows).bool()


def state_for(seed: int, sizes=(3, 8, 8, 3), radius=0.5):
    module = dense(list(sizes), seed)
    graph = graph_for(module, (sizes[0],))
    x = torch.randn(sizes[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return module, graph, x, relaxed_input(graph, x, Ball("linf", radius), Deadline())


@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_differences(seed):
    """In float64, for slopes and multipliers inside their ranges, against central differences."""
    _, graph, x, state = state_for(seed)
    sweep = Sweep(graph, input_set(x[None], Ball("linf", 0.5)), Nearest())
    relus = triangles(state.bounds)
    start = margin_rows(graph, 0, torch.tensor([1, 2]))
    generator = torch.Generator().manual_seed(seed)
    shape = {index: (2, *low.shape[1:]) for index, (low, _) in state.bounds.items()}
    slopes = {i: torch.where(relus.free[i] > 0, torch.rand(s, generator=generator).double(), relus.chord[i])
              for i, s in shape.items()}  # fmt: skip
    gammas = {i: 0.1 * torch.randn(s, generator=generator, dtype=torch.float64) for i, s in shape.items()}
    trace = Trace()
    sweep.lower(start, relus, slopes, gammas, trace)
    by_slope, by_gamma = gradients(sweep, start, trace, relus, gammas)
    step = 1e-7
    for parameters, found in ((slopes, by_slope), (gammas, by_gamma)):
        for index, values in parameters.items():
            for entry in range(values.shape[1]):
                if parameters is slopes and not relus.free[index][0, entry]:
                    continue
                sides = []
                for sign in (1.0, -1.0):
                    moved = values.clone()
                    moved[:, entry] += sign * step
                    chosen = {**parameters, index: moved}
                    pair = (chosen, gammas) if parameters is slopes else (slopes, chosen)
                    sides.append(sweep.lower(start, relus, *pair, None))
                difference = (sides[0] - sides[1]) / (2 * step)
                assert torch.allclose(difference, found[index][:, entry], atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_reaches_the_triangle_optimum(seed):
    """With the intermediate bounds fixed, the best slopes give the optimum of the triangle linear program."""
    module, _, x, _ = state_for(seed, radius=0.3)
    network = load_network(module.float(), (3,))
    (image,) = instances(network, x.float()[None], torch.tensor([0]), Ball("linf", 0.3), Deadline())
    bounds = [(torch.tensor(low)[None], torch.tensor(up)[None]) for low, up in image.intervals]
    ball, point = Ball("linf", 0.3), x.float()[None]
    graph = graph_for(module.double(), (3,))
    state = relaxed_input(graph, point[0], ball, Deadline())
    assert state is not None
    for index, (low, up) in zip(graph.relus, bounds, strict=True):
        state.replace(index, low, up)
    found, _ = state.raise_rows(margin_rows(graph, 0, torch.tensor([1, 2])), Schedule(300, 0.5), never, Deadline())
    program = relax(image.layers, image.inputs, image.intervals)
    for place, other in enumerate((1, 2)):
        best = program.solver.minimum(program.program.margin(image.layers[-1], 0, other), Deadline()).bound
        assert best - 1e-3 * (1 + abs(best)) <= float(found[place]) <= best + 1e-7


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), radius=st.sampled_from([0.05, 0.3, 1.0]), norm=st.sampled_from(["linf", "l2", "l1"]))
def test_sound_and_never_below_crown(seed, radius, norm):
    module = dense([3, 6, 5, 3], seed)
    graph, ball = graph_for(module, (3,)), Ball(norm, radius)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.tensor([seed % 3, 1])
    found = optimized_margins(graph, x, labels, ball, Schedule(8), Deadline())
    assert (found >= margin_bounds(graph, x, labels, ball)).all()
    for one, label, low in zip(x, labels.tolist(), found, strict=True):
        assert (margins_at(module, points_in(one, ball, 200, seed), label) >= low - 1e-12).all()


def test_residual_and_convolutional():
    module = convolutional(3)
    graph, ball = graph_for(module, (2, 6, 6)), Ball("linf", 0.1, 0.0, 1.0)
    x = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = module(x).argmax(dim=1)
    crown, found = (margin_bounds(graph, x, label, ball),
                    optimized_margins(graph, x, label, ball, Schedule(20), Deadline()))  # fmt: skip
    assert (found >= crown).all()
    assert float((found - crown)[crown.isfinite()].max()) > 1e-3
    assert (margins_at(module, points_in(x[0], ball, 300), int(label)) >= found[0]).all()


@pytest.mark.parametrize("seed", range(5))
def test_bounds_with_fixed_phases_hold_where_the_phases_do(seed):
    module, graph, x, state = state_for(seed, radius=0.8)
    free = [(index, int(entry)) for index, (low, up) in state.bounds.items()
            for entry in ((low < 0) & (up > 0)).flatten().nonzero().squeeze(1)[:2]]  # fmt: skip
    points = points_in(x, Ball("linf", 0.8), 4000, seed)
    values = graph.values(points)
    start = margin_rows(graph, 0, torch.tensor([1, 2]))
    improved = 0
    for index, entry in free:
        for sign in (1, -1):
            child = state.fix(index, entry, sign)
            tighten(child, Schedule(6), Deadline())
            found, _ = child.raise_rows(start, Schedule(10), never, Deadline())
            before = values[graph.nodes[index].inputs[0]].flatten(1)[:, entry]
            inside = sign * before <= 0
            for relu, (low, up) in child.bounds.items():
                z = values[graph.nodes[relu].inputs[0]][inside]
                assert (z >= low - 1e-12).all()
                assert (z <= up + 1e-12).all()
                improved += int((up < state.bounds[relu][1]).sum())
            margins = margins_at(module, points[inside], 0)[:, 1:]
            assert (margins >= found - 1e-12).all()
    assert improved > len(free)


def test_wrong_multipliers_are_clipped():
    """Whatever the search hands over, certified bounds hold: slopes outside [0, 1], gammas of the wrong sign."""
    module, graph, x, state = state_for(1, radius=0.8)
    index = graph.relus[0]
    entry = int((state.triangles(torch.float64).free[index] > 0).flatten().nonzero()[0])
    child = state.fix(index, entry, 1)
    start = margin_rows(graph, 0, torch.tensor([1, 2]))
    slopes = {i: torch.full((2, *low.shape[1:]), 7.0) for i, (low, _) in child.bounds.items()}
    gammas = {index: torch.full((2, *child.bounds[index][0].shape[1:]), -5.0)}
    found = child.certify(start, slopes, gammas)
    points = points_in(x, Ball("linf", 0.8), 2000)
    inside = graph.values(points)[graph.nodes[index].inputs[0]][:, entry] <= 0
    assert (margins_at(module, points[inside], 0)[:, 1:] >= found).all()


def test_reduced_network_is_the_same_function_on_the_ball():
    _, graph, x, state = state_for(5, sizes=(3, 20, 20, 3), radius=0.1)
    smaller, kept = state.reduced()
    assert sum(len(entries) for entries in kept.values()) < 40
    points = points_in(x, Ball("linf", 0.1), 500)
    assert torch.allclose(smaller.graph.forward(points), graph.forward(points), atol=1e-12)


def test_chunks_of_rows_change_little():
    _, graph, _, state = state_for(2, radius=0.8)
    _, _, _, other = state_for(2, radius=0.8)
    tighten(state, Schedule(6), Deadline())
    object.__setattr__(other, "at_once", lambda: 2)
    tighten(other, Schedule(6), Deadline())
    for index, (low, up) in state.bounds.items():
        again = other.bounds[index]
        # rows stop as soon as their neuron is stable, sooner or later depending on the company
        free = (low < 0) & (up > 0)
        assert torch.equal(free, (again[0] < 0) & (again[1] > 0))
        assert torch.allclose(low[free], again[0][free], atol=1e-4)
        assert torch.allclose(up[free], again[1][free], atol=1e-4)
    for index, found in state.found.items():
        assert torch.equal(found.entries, other.found[index].entries)
        for below, slopes in found.slopes.items():
            assert slopes.shape == other.found[index].slopes[below].shape
    # what was remembered in pieces proves the same bounds
    relu = graph.relus[1]
    start = both_sides(other, graph.nodes[relu].inputs[0], other.found[relu].entries)
    again = other.certify(start, other.found[relu].slopes, other.found[relu].gammas)
    count = len(other.found[relu].entries)
    low = other.bounds[relu][0].flatten()[other.found[relu].entries]
    assert torch.allclose(again[:count], low, atol=1e-9)


def test_out_of_time_carries_crown():
    module = dense([3, 6, 5, 3], 0)
    graph, ball, x, label = graph_for(module, (3,)), Ball("linf", 0.5), torch.zeros(1, 3).double(), torch.tensor([0])
    with pytest.raises(OutOfTime) as late:
        optimized_margins(graph, x, label, ball, Schedule(8), Deadline.after(0.0))
    assert late.value.margins is not None


def test_other_activations_keep_their_planes():
    """Sigmoid, max pool and ReLU in one network: sound, never below CROWN, above it where a ReLU has a choice."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.ReLU(),
        nn.Unflatten(1, (2, 2, 2)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3),
    ).double()  # fmt: skip
    graph, ball, x = graph_for(module, (3,)), Ball("linf", 0.4), torch.zeros(1, 3, dtype=torch.float64)
    label = module(x).argmax(dim=1)
    crown, found = (margin_bounds(graph, x, label, ball),
                    optimized_margins(graph, x, label, ball, Schedule(20), Deadline()))  # fmt: skip
    assert (found >= crown).all()
    assert float((found - crown)[crown.isfinite()].max()) > 1e-4
    assert (margins_at(module, points_in(x[0], ball, 500), int(label)) >= found[0]).all()


def test_rows_with_constants():
    _, graph, _, state = state_for(0)
    plain = margin_rows(graph, 0, torch.tensor([1]))
    shifted = Start(plain.index, plain.rows, plain.constants + 3.0)
    bounds = [state.raise_rows(start, Schedule(5), never, Deadline())[0] for start in (plain, shifted)]
    assert torch.allclose(bounds[0] + 3.0, bounds[1], atol=1e-6)


DATA = os.environ.get("SOKBENCH_DATA")
FOLDER = Path(DATA or ".").parent / "reference" / "bounds" / "rand_bn_avgpool"


@pytest.mark.skipif(DATA is None or not FOLDER.is_dir(), reason="no reference bounds beside SOKBENCH_DATA")
def test_not_below_the_reference():
    """auto_LiRPA's CROWN-Optimized after 20 iterations: met by 60 of ours to 1e-6 (after 100: to 6e-4, by 100)."""
    from tests.verifiers.bounds.test_reference import Replay

    graph = graph_for(Replay(FOLDER).eval(), (3, 8, 8))
    inputs, reference = np.load(FOLDER / "inputs.npz"), np.load(FOLDER / "bounds.npz")
    x, labels = torch.tensor(inputs["X"]), torch.tensor(inputs["y"])
    for key, iterations, slack in (
        ("inf|0.1|alpha20-lr0.1|adaptive|lb", 60, 1e-6),
        ("2|0.5|alpha20-lr0.1|adaptive|lb", 60, 1e-6),
        ("inf|0.02|alpha100-lr0.1|adaptive|lb", 100, 1e-5),
        ("inf|0.1|alpha100-lr0.1|adaptive|lb", 100, 6e-4),
    ):
        norm, radius, *_ = key.split("|")
        count = min(2, len(reference[key]))
        ball = Ball("linf" if norm == "inf" else "l2", float(radius))
        found = optimized_margins(graph, x[:count], labels[:count], ball, Schedule(iterations), Deadline())
        ours = found[found.isfinite()].reshape(count, -1).numpy()
        assert (ours >= reference[key][:count] - slack).all(), (key, (ours - reference[key][:count]).min())
