"""Proofs: accepted as written, refused when tampered with, and about the network and the claim they name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sokbench
from sokbench.cli import cli
from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense
from verifiers.complete.proof import check_proof, claims_label, proof_arrays, read_proof, write_proof
from verifiers.complete.proof_check import Refused
from verifiers.complete.split_decision import Question, decide_rows, question
from verifiers.complete.split_search import SplitSettings


def hard_problem() -> Problem:
    """Robust, but only just: some sixty leaves are needed."""
    network = load_network(dense([4, 24, 24, 3], 0, 2.0).float(), (4,))
    x = torch.linspace(-0.5, 0.5, 4)
    return Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.166015625))


@pytest.fixture(scope="module")
def proved(tmp_path_factory) -> tuple[Problem, Path]:
    problem = hard_problem()
    folder = tmp_path_factory.mktemp("proofs")
    outcome = sokbench.method("beta_crown", proofs=str(folder)).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    return problem, Path(outcome.stats["proof"])


def test_accepted_with_the_margin_of_the_search(proved):
    problem, path = proved
    arrays = read_proof(path)
    checked = check_proof(arrays, problem.network)
    assert checked.margin > 0
    assert checked.leaves > 3
    assert claims_label(arrays, 3)
    outcome = sokbench.method("beta_crown", proofs=str(path.parent)).verify(problem, 20.0)
    assert checked.margin == pytest.approx(outcome.margin, abs=1e-9)


def test_states_with_bounds_of_their_own(proved, tmp_path):
    """Refreshed at every few domains: intermediate bounds of many states are part of the proof."""
    problem, _ = proved
    found = []
    with torch.no_grad():
        asked = question(problem, Deadline(), always=True)
        assert isinstance(asked, Question)
        outcome = decide_rows(asked, SplitSettings(batch=2, patience=4, most=1), Deadline.after(20.0), found.append)
    assert outcome.verdict is Verdict.VERIFIED
    path = write_proof(proof_arrays(problem, asked, found[0]), tmp_path)
    checked = check_proof(read_proof(path), problem.network)
    assert checked.states > 5
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
        for key in ("leaf_state", "leaf_target", "leaf_slopes", "leaf_gammas"):
            changed[key] = changed[key][keep]
    elif name == "a path is cut short":
        changed["leaf_paths"] = np.delete(changed["leaf_paths"], changed["leaf_ends"][leaf] - 1)
        changed["leaf_ends"][leaf:] -= 1
    elif name == "a split turned round":
        changed["leaf_paths"][changed["leaf_ends"][leaf] - 1] *= -1
    elif name == "a larger box":
        changed["lower"], changed["upper"] = changed["lower"] - 0.5, changed["upper"] + 0.5
    elif name == "a larger claim":
        changed["offsets"] = changed["offsets"] - 1.0
    elif name == "multipliers of nothing":
        changed["leaf_slopes"][:], changed["leaf_gammas"][:] = 0.5, 0.0
    elif name == "NaN":
        changed["leaf_gammas"][leaf] = np.nan
    elif name == "a column that is no neuron":
        changed["columns_neuron"][0] = 10**6
    elif name == "another format":
        changed["format"] = np.array("something else")
    elif name == "an array is missing":
        del changed["leaf_ends"]
    elif name == "a row is added":
        changed["rows"] = np.concatenate([changed["rows"], -changed["rows"][:1]])
        changed["offsets"] = np.append(changed["offsets"], 0.0)
    return changed


@pytest.mark.parametrize(
    "name",
    [
        "a leaf is missing", "a path is cut short", "a split turned round", "a larger box", "a larger claim",
        "multipliers of nothing", "NaN", "a column that is no neuron", "another format", "an array is missing",
        "a row is added",
    ],
)  # fmt: skip
def test_tampered_proofs_are_refused(proved, name):
    problem, path = proved
    with pytest.raises(Refused):
        check_proof(tampered(name, read_proof(path)), problem.network)


def test_another_network_is_refused(proved):
    _, path = proved
    other = load_network(dense([4, 24, 24, 3], 5, 2.0).float(), (4,))
    with pytest.raises(Refused, match="about the network"):
        check_proof(read_proof(path), other)
    # nor does the proof hold for it under the right name
    arrays = {**read_proof(path), "network": np.array(other.sha256)}
    with pytest.raises(Refused):
        check_proof(arrays, other)


def test_a_proof_of_something_weaker_is_not_the_claim(proved):
    problem, path = proved
    arrays = read_proof(path)
    fewer = {**arrays, "rows": arrays["rows"][:1], "offsets": arrays["offsets"][:1]}
    assert not claims_label(fewer, problem.network.num_classes)
    assert not claims_label({**arrays, "offsets": arrays["offsets"] + 1.0}, 3)


def test_files_that_are_no_proofs(tmp_path):
    path = tmp_path / "no.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(InvalidInput, match="no proof"):
        read_proof(path)
    np.savez(path, format=np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="no proof"):
        read_proof(path)


def test_command_line(tmp_path):
    """The proof of a VNN-LIB property, by the commands."""
    torch.manual_seed(0)
    module = dense([2, 8, 8, 2], 3).float()
    network = tmp_path / "net.onnx"
    torch.onnx.export(module, (torch.zeros(1, 2),), str(network), dynamo=False)
    label = int(module(torch.tensor([[0.5, 0.5]])).argmax())
    box = "".join(f"(assert (<= X_{i} 0.52))(assert (>= X_{i} 0.48))" for i in range(2))
    names = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(2))
    spec = tmp_path / "p.vnnlib"
    spec.write_text(f"{names}{box}(assert (<= Y_{label} Y_{1 - label}))")
    runner = CliRunner()
    asked = ["verify", str(network), str(spec), "--method", "beta_crown", "--set", f"proofs={tmp_path / 'proofs'}"]
    assert "holds" in runner.invoke(cli, asked, catch_exceptions=False, standalone_mode=False).output
    (proof,) = (tmp_path / "proofs").iterdir()
    command = ["check-proof", str(proof), str(network), str(spec), "--json"]
    result = runner.invoke(cli, command, catch_exceptions=False, standalone_mode=False)
    assert json.loads(result.output)["answer"] == "accepted"
    spec.write_text(spec.read_text().replace("0.52", "0.53"))
    result = runner.invoke(cli, command, catch_exceptions=False, standalone_mode=False)
    assert json.loads(result.output)["answer"] == "refused"
