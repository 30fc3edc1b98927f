"""Proofs: accepted as written, refused when tampered with, and about the network and the claim they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import Skip, dense
from tests.verifiers.complete.proofs.hard_problems import (
    PROBLEMS,
    hard_problem,
    read_proof,
)
from verifiers.bounds.sets.inputs import input_set
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.check_splits import FORMAT
from verifiers.complete.proofs.claims import check_proof, claims_label
from verifiers.complete.proofs.file import write_proof
from verifiers.complete.proofs.splits import proof_arrays, usual_slopes
from verifiers.complete.proofs.steps import steps_of
from verifiers.complete.search.split_search import SplitSettings
from verifiers.complete.split_decision import Question, decide_rows, question
from verifiers.graph import graph_of


@pytest.fixture(scope="module", params=list(PROBLEMS))
def proved(request, tmp_path_factory) -> tuple[Problem, Path]:
    problem = hard_problem(request.param)
    folder = tmp_path_factory.mktemp("proofs")
    outcome = sokbench.method("beta_crown", proofs=str(folder)).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    return problem, Path(outcome.stats["proof"])


def test_accepted_with_the_margin_of_the_search(proved):
    problem, path = proved
    arrays = read_proof(path)
    checked = check_proof(arrays, problem.network)
    assert checked.margin > 0
    assert checked.leaves > 2
    assert claims_label(arrays, 3)
    smooth_ones = any(step.curve for step in steps_of(problem.network))  # their slopes are rounded
    outcome = sokbench.method("beta_crown", proofs=str(path.parent)).verify(problem, 20.0)
    assert checked.margin == pytest.approx(outcome.margin, abs=1e-6 if smooth_ones else 1e-9)


@pytest.mark.parametrize("name", ["chain", "residual", "tanh", "tanh relu"])
def test_states_with_bounds_of_their_own(name, tmp_path):
    """Refreshed at every few domains: intermediate bounds of many states are part of the proof."""
    problem = hard_problem(name)
    found = []
    with torch.no_grad():
        asked = question(problem, Deadline(), always=True)
        assert isinstance(asked, Question)
        usual = usual_slopes(asked.relaxed)
        outcome = decide_rows(asked, SplitSettings(batch=2, patience=4, most=1), Deadline.after(20.0), found.append)
    assert outcome.verdict is Verdict.VERIFIED
    path = write_proof(proof_arrays(problem, asked, found[0], usual), tmp_path)
    checked = check_proof(read_proof(path), problem.network)
    assert checked.states > 2
    assert checked.margin > 0
    arrays = read_proof(path)
    with pytest.raises(Refused):
        check_proof({**arrays, "state_paths": -arrays["state_paths"]}, problem.network)


def tampered(name: str, arrays: dict) -> dict:
    changed = {key: values.copy() for key, values in arrays.items()}
    leaf = int(np.diff(np.concatenate([[0], changed["leaf_ends"]])).argmax())
    keep = np.arange(len(changed["leaf_state"])) != leaf
    if name == "a leaf is missing":
        ends = np.concatenate([[0], changed["leaf_ends"]])
        inside = np.ones(len(changed["leaf_paths"]), dtype=bool)
        inside[ends[leaf] : ends[leaf + 1]] = False
        changed["leaf_ends"] = np.cumsum(np.diff(ends)[keep])
        changed["leaf_paths"] = changed["leaf_paths"][inside]
        for key in [key for key in changed if key.startswith("leaf_") and key not in ("leaf_paths", "leaf_ends")]:
            changed[key] = changed[key][keep]
    elif name == "a path is cut short":
        changed["leaf_paths"] = np.delete(changed["leaf_paths"], changed["leaf_ends"][leaf] - 1)
        changed["leaf_ends"][leaf:] -= 1
    elif name == "a split turned round":
        changed["leaf_paths"][changed["leaf_ends"][leaf] - 1] *= -1
    elif name == "halves at two cuts":
        last = changed["leaf_ends"][leaf] - 1
        split = changed["leaf_paths"][last]
        for part, by in (("layer", 0), ("neuron", 0), ("cut", 2.0**-20)):
            values = changed[f"columns_{part}"]
            changed[f"columns_{part}"] = np.append(values, values[abs(split) - 1] + by)
        changed["leaf_paths"][last] = np.sign(split) * len(changed["columns_cut"])
    elif name == "a cut at NaN":
        changed["columns_cut"][:] = np.nan
    elif name == "a larger box":
        changed["lower"], changed["upper"] = changed["lower"] - 0.5, changed["upper"] + 0.5
        if "radius" in changed:
            changed["radius"] = changed["radius"] + 1.0
    elif name == "a larger claim":
        changed["offsets"] = changed["offsets"] - 1.0
    elif name == "multipliers of nothing":
        for key in changed:
            if key.startswith(("leaf_slopes", "leaf_gammas")):
                changed[key][:] = 0.5 if "slopes" in key else 0.0
    elif name == "NaN":
        for key in changed:
            if key.startswith("leaf_gammas"):
                changed[key][leaf] = np.nan
    elif name == "a column that is no neuron":
        changed["columns_neuron"][0] = 10**6
    elif name == "another format":
        changed["format"] = np.array("something else")
    elif name == "an array is missing":
        del changed["leaf_ends"]
    elif name == "a row is added":
        changed["rows"] = np.concatenate([changed["rows"], -changed["rows"][:1]])
        changed["offsets"] = np.append(changed["offsets"], 0.0)
    elif name == "a state counted from the end":
        changed["leaf_state"][leaf] -= len(changed["state_ends"])
    elif name == "the root is missing":
        changed["state_paths"], changed["state_ends"] = np.array([1]), np.array([1])
    return changed


@pytest.mark.parametrize(
    "name",
    [
        "a leaf is missing", "a path is cut short", "a split turned round", "halves at two cuts",
        "a cut at NaN", "a larger box", "a larger claim",
        "multipliers of nothing", "NaN", "a column that is no neuron", "another format", "an array is missing",
        "a row is added", "a state counted from the end", "the root is missing",
    ],
)  # fmt: skip
def test_tampered_proofs_are_refused(proved, name):
    problem, path = proved
    with pytest.raises(Refused):
        check_proof(tampered(name, read_proof(path)), problem.network)


def test_neurons_are_not_counted_from_the_end(proved):
    problem, path = proved
    arrays = read_proof(path)
    entries = arrays["state0_layer1_entries"]
    with pytest.raises(Refused, match="neurons that the network has not"):
        check_proof({**arrays, "state0_layer1_entries": entries - entries.min() - 1}, problem.network)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_random_multipliers_never_show_too_much(name):
    """What is checked of one leaf with any slopes and splits stays below the least value among sampled points."""
    problem = hard_problem(name)
    graph, rng = graph_of(problem.network), np.random.default_rng(0)
    lower, upper = (side.numpy()[0] for side in input_set(problem.x[None].double(), problem.ball).interval())
    x = problem.x.double().numpy()
    moves = rng.exponential(size=(20_000, 4)) * rng.choice([-1.0, 1.0], size=(20_000, 4))
    size = np.abs(moves).sum(axis=1) if problem.ball.norm == "l1" else np.abs(moves).max(axis=1)
    points = np.clip(x + problem.ball.radius * moves / size[:, None], lower, upper)
    row = np.array([[1.0, -1.0, 0.0]])
    least = float((graph.forward(torch.tensor(points)).numpy() @ row[0]).min())
    layers = [step for step in steps_of(problem.network) if step.is_relu or step.curve]
    widths = [step.width for step in layers]
    nothing, columns = np.zeros(0, dtype=np.int64), [(k, j) for k, width in enumerate(widths) for j in range(width)]
    for _ in range(20):
        arrays = {
            "format": np.array(FORMAT), "network": np.array(problem.network.sha256),
            "label": np.array(0), "lower": lower, "upper": upper, "rows": row, "offsets": np.array([1e4]),
            "columns_layer": np.array(columns)[:, 0], "columns_neuron": np.array(columns)[:, 1],
            "columns_cut": rng.normal(size=len(columns)),
            "state_paths": nothing, "state_ends": np.array([0]), "state0_layer1_entries": np.arange(widths[1]),
            "leaf_paths": np.array([5, -5]), "leaf_ends": np.array([1, 2]), "leaf_state": np.array([0, 0]),
            "leaf_target": np.array([0, 0]),
        }  # fmt: skip
        if problem.ball.norm == "l1":
            arrays |= {"centre": x, "radius": np.array(problem.ball.radius)}
        for layer, width in enumerate(widths):
            sides = 2 if layers[layer].curve else 1
            arrays |= {f"neurons{layer}": np.arange(width), f"usual{layer}": rng.normal(size=(sides, width))}
            for rows, owner in ((2, "leaf"), (2 * widths[1], "state0_layer1")):
                arrays[f"{owner}_slopes{layer}"] = rng.uniform(-0.5, 1.5, size=(rows, width))
                arrays[f"{owner}_gammas{layer}"] = rng.normal(size=(rows, width))
        assert check_proof(arrays, problem.network).margin - 1e4 <= least


def test_convolutions_with_a_skip_connection(tmp_path):
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    module = nn.Sequential(
        nn.Conv2d(2, 4, 4, 2, 1), nn.BatchNorm2d(4).eval(), nn.ReLU(), Skip(inner), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip
    network = load_network(module, (2, 6, 6))
    x = torch.rand(2, 6, 6)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.04, 0.0, 1.0))
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 20.0)
    assert check_proof(read_proof(Path(outcome.stats["proof"])), network).margin == pytest.approx(outcome.margin)


@pytest.mark.parametrize(("name", "radius"), [("leaky", 0.25), ("clamp", 0.05), ("max pool", 0.15)])
def test_what_is_written_as_relus(name, radius, tmp_path):
    torch.manual_seed(0)
    leaky = nn.Sequential(nn.Linear(10, 30), nn.LeakyReLU(0.1), nn.Linear(30, 30), nn.LeakyReLU(0.1), nn.Linear(30, 3))
    pool = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    clamp = nn.Sequential(nn.Linear(10, 30), nn.Hardtanh(), nn.Linear(30, 3))
    module, shape = {"leaky": (leaky, (10,)), "max pool": (pool, (1, 8, 8)), "clamp": (clamp, (10,))}[name]
    network, x = load_network(module, shape), torch.full(shape, 0.5)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", radius))
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 60.0)
    assert check_proof(read_proof(Path(outcome.stats["proof"])), network).margin == pytest.approx(outcome.margin)


def test_what_cannot_be_checked_is_not_searched(tmp_path):
    network = load_network(nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 2)), (2,))
    problem = Problem(network, torch.zeros(2), int(network(torch.zeros(1, 2)).argmax()), Ball("linf", 0.01))
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 5.0)
    assert outcome.termination is Termination.UNSUPPORTED
    assert "softplus" in outcome.stats["reason"]


def test_nothing_to_split_is_decided_without_a_proof(tmp_path):
    network = load_network(nn.Sequential(nn.Linear(2, 2)), (2,))
    problem = Problem(network, torch.ones(2), int(network(torch.ones(1, 2)).argmax()), Ball("linf", 1e-4))
    assert sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 5.0).verdict is Verdict.VERIFIED
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused(proved):
    _, path = proved
    other = load_network(dense([4, 24, 24, 3], 8, 2.0).float(), (4,))
    with pytest.raises(Refused, match="about the network"):
        check_proof(read_proof(path), other)
    # nor does the proof hold for it under the right name
    arrays = {**read_proof(path), "network": np.array(other.sha256)}
    with pytest.raises(Refused):
        check_proof(arrays, other)
