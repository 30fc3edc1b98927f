"""Proofs of input splitting: accepted as written, refused when tampered with, never accepted for what is false."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import sokbench
from sokbench.cli import cli
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense
from tests.verifiers.complete.proofs.hard_problems import read_proof, residual
from verifiers.complete.proofs import check_boxes
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.check_boxes import FORMAT, BoxChecker
from verifiers.complete.proofs.claims import check_problems, check_proof, claims_label, read_proofs
from verifiers.complete.proofs.steps import steps_of


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )


def leaky() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 20), nn.LeakyReLU(0.1), nn.Linear(20, 20), nn.LeakyReLU(0.1), nn.Linear(20, 3))


NETWORKS = {
    "chain": (dense([3, 24, 24, 3], 0, 2.0).float(), (3,), 0.104),
    "residual": (residual(1, inputs=3), (3,), 0.64),
    "convolutional": (convolutional(), (1, 3, 3), 0.25),
    "leaky": (leaky(), (3,), 0.7),
}


def problem_of(name: str) -> Problem:
    module, shape, radius = NETWORKS[name]
    network = load_network(module, shape)
    x = torch.linspace(-0.5, 0.5, int(np.prod(shape))).reshape(shape)
    return Problem(network, x, int(network(x[None]).argmax()), Ball("linf", radius))


@pytest.fixture(scope="module", params=list(NETWORKS))
def proved(request, tmp_path_factory) -> tuple[Problem, dict, float]:
    problem = problem_of(request.param)
    outcome = sokbench.method("reluval", proofs=str(tmp_path_factory.mktemp("proofs"))).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    return problem, read_proof(outcome.stats["proof"]), outcome.margin


def test_accepted_with_the_margin_of_the_search(proved):
    problem, arrays, margin = proved
    checked = check_proof(arrays, problem.network)
    assert checked.margin == pytest.approx(margin, rel=1e-6)
    assert checked.states == 2 * checked.leaves - 1
    assert checked.leaves > 3
    assert claims_label(arrays, problem.network.num_classes)


def test_the_order_of_boxes_does_not_matter(proved, monkeypatch):
    problem, arrays, margin = proved
    monkeypatch.setattr(check_boxes, "_BOXES", 2)
    monkeypatch.setattr(check_boxes, "_CACHE", 1)
    assert check_proof(arrays, problem.network).margin == pytest.approx(margin, rel=1e-6)


def test_beta_crown_splits_few_inputs_with_a_proof(tmp_path):
    network = load_network(dense([3, 40, 40, 40, 3], 0).float(), (3,))
    x = torch.zeros(3)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.4))
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 20.0)
    assert outcome.stats["decided_by"] == "input_search"
    arrays = read_proof(outcome.stats["proof"])
    assert str(arrays["format"]) == FORMAT
    (checked,) = check_problems([arrays], [problem])
    assert checked.margin == pytest.approx(outcome.margin, rel=1e-6)


def leaf(arrays: dict) -> int:
    """The first node that is not split."""
    return int(np.setdiff1d(np.arange(2 * len(arrays["split_node"]) + 1), arrays["split_node"])[0])


def without(arrays: dict, keep: np.ndarray) -> dict:
    return {**arrays, **{name: arrays[name][keep] for name in ("proved_node", "proved_row", "proved_slopes")}}


def lowered_slopes(arrays: dict) -> dict:
    changed = {name: np.where(values, 0, 255) for name, values in arrays.items() if name.startswith("slopes")}
    return {**arrays, **changed}


def replaced(name: str, place: int, value: float) -> object:
    def change(arrays: dict) -> dict:
        values = arrays[name].copy()
        values[place] = value
        return {**arrays, name: values}

    return change


TAMPERED = {
    "a leaf is missing": lambda a: without(a, a["proved_node"] != leaf(a)),
    "one row of a leaf is missing": lambda a: without(a, np.arange(len(a["proved_node"])) != len(a["proved_node"]) - 1),
    "a row is another one": lambda a: {**a, "proved_row": a["proved_row"][::-1] * 0},
    "a row that there is not": replaced("proved_row", 0, 2),
    "shown where nothing is": replaced("proved_node", 0, 10**6),
    "shown below the root": replaced("proved_node", 0, -1),
    "no cuts": lambda a: {**a, **{name: a[name][:0] for name in ("split_node", "split_input", "split_cut")}},
    "the last cut is missing": lambda a: {
        **a, **{name: a[name][:-1] for name in ("split_node", "split_input", "split_cut")}
    },
    "a cut beside its box": lambda a: {**a, "split_cut": a["split_cut"] + 10.0},
    "a cut that is none": replaced("split_cut", 0, np.nan),
    "a cut along no input": replaced("split_input", 0, 9),
    "a cut along an input counted from the end": replaced("split_input", 0, -1),
    "a node split before there is one": lambda a: {**a, "split_node": a["split_node"][::-1]},
    "a node split twice": lambda a: {**a, "split_node": a["split_node"] * 0},
    "numbers of nodes that are none": lambda a: {**a, "split_node": a["split_node"].astype(float)},
    "slopes that there are not": lambda a: {**a, "proved_slopes": a["proved_slopes"] + 10**6},
    "slopes counted from the end": lambda a: {**a, "proved_slopes": a["proved_slopes"] - 5},
    "other slopes": lowered_slopes,
    "slopes of other neurons": lambda a: {**a, "slopes0": a["slopes0"][:, :-1]},
    "a larger box": lambda a: {**a, "lower": a["lower"] - 0.5, "upper": a["upper"] + 0.5},
    "an infinite box": lambda a: {**a, "upper": a["upper"] + np.inf},
    "a box of nothing": lambda a: {**a, "upper": a["upper"] * np.nan},
    "a box turned round": lambda a: {**a, "lower": a["upper"], "upper": a["lower"]},
    "a larger claim": lambda a: {**a, "offsets": a["offsets"] - 10.0},
    "another claim": lambda a: {**a, "rows": -a["rows"]},
    "a claim of nothing": lambda a: {**a, "offsets": a["offsets"] * np.nan},
    "a row is added": lambda a: {
        **a, "rows": np.concatenate([a["rows"], a["rows"][:1]]), "offsets": np.append(a["offsets"], 9.0)
    },
    "another format": lambda a: {**a, "format": np.array("sokbench-proof-2")},
    "an array is missing": lambda a: {name: values for name, values in a.items() if name != "split_cut"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(TAMPERED))
def test_tampered_proofs_are_refused(proved, name):
    problem, arrays, _ = proved
    with pytest.raises(Refused):
        check_proof(TAMPERED[name](arrays), problem.network)


def test_a_cut_that_is_moved(proved):
    """To an edge of the whole box: it misses its own box, or one of the halves is all of that, where the search had
    found no proof. What is left may happen to be another proof, but of nothing that is not so."""
    problem, arrays, _ = proved
    label, network = problem.label, problem.network
    points = torch.rand(2000, *network.input_shape) * 2 - 1
    with torch.no_grad():
        logits = network(problem.x + problem.ball.radius * points)
    others = torch.arange(3) != label
    least = float((logits[:, [label]] - logits[:, others]).min())
    refused = 0
    for place in range(len(arrays["split_cut"])):
        for edge in ("lower", "upper"):
            cuts = arrays["split_cut"].copy()
            cuts[place] = arrays[edge][arrays["split_input"][place]]
            try:
                assert check_proof({**arrays, "split_cut": cuts}, network).margin <= least + 1e-5
            except Refused:
                refused += 1
    assert refused > len(arrays["split_cut"])


def test_another_network_is_refused(proved):
    _, arrays, _ = proved
    other = load_network(dense([3, 24, 24, 3], 8, 2.0).float(), (3,))
    with pytest.raises(Refused, match="about the network"):
        check_proof(arrays, other)
    with pytest.raises(Refused):
        check_proof({**arrays, "network": np.array(other.sha256)}, other)


def test_what_it_is_a_proof_of(proved):
    """Of no larger ball, no other centre, no other label."""
    problem, arrays, _ = proved
    assert check_problems([arrays], [problem])[0].margin > 0
    for other in (
        replace(problem, ball=problem.ball.with_radius(problem.ball.radius + 2.0**-10)),
        replace(problem, x=problem.x + 0.25),
        replace(problem, label=(problem.label + 1) % 3),
    ):
        with pytest.raises(Refused, match="no proof of problem"):
            check_problems([arrays], [other])
    fewer = {**arrays, "upper": arrays["upper"] - 2.0**-10}
    with pytest.raises(Refused, match="no proof of problem"):
        check_problems([fewer], [problem])


def test_steps_that_it_does_not_know(proved):
    problem, arrays, _ = proved
    steps = [replace(step, is_relu=False) for step in steps_of(problem.network)]
    with pytest.raises(Refused, match="know affine maps"):
        BoxChecker(steps, arrays)


@pytest.mark.parametrize("kind", ["tanh", "many inputs"])
def test_what_cannot_be_proved_is_not_searched(kind, tmp_path):
    inputs, between = (2, nn.Tanh()) if kind == "tanh" else (70, nn.ReLU())
    network = load_network(nn.Sequential(nn.Linear(inputs, 3), between, nn.Linear(3, 2)), (inputs,))
    x = torch.zeros(inputs)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 1e-4))
    outcome = sokbench.method("reluval", proofs=str(tmp_path)).verify(problem, 5.0)
    assert outcome.termination is Termination.UNSUPPORTED
    assert "at most 64 inputs" in outcome.stats["reason"]


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.return_value, result.output


def test_from_the_command_line(tmp_path):
    """A box, and two unsafe sets, one of them of two rows: two problems, the second with a maximum."""
    module = dense([3, 30, 30, 30, 2], 6).float()
    network, spec, proof = (tmp_path / name for name in ("net.onnx", "p.vnnlib", "proof.zip"))
    torch.onnx.export(module, (torch.zeros(1, 3),), str(network), dynamo=False)
    points = torch.rand(20_000, 3) - 0.5
    with torch.no_grad():
        outputs = module(points)
    first, both = float(outputs[:, 0].min()) - 0.2, float(outputs.amax(dim=1).min()) - 0.2
    names = "".join(f"(declare-const X_{i} Real)" for i in range(3))
    names += "".join(f"(declare-const Y_{i} Real)" for i in range(2))
    box = " ".join(f"(assert (>= X_{i} -0.5)) (assert (<= X_{i} 0.5))" for i in range(3))
    unsafe = f"(and (<= Y_0 {first:.6f})) (and (<= Y_0 {both:.6f}) (<= Y_1 {both:.6f}))"
    spec.write_text(f"{names}{box}(assert (or {unsafe}))")
    assert "holds" in run("verify", network, spec, "--proof", proof)[1]
    proofs = read_proofs(proof)
    assert [str(arrays["format"]) for arrays in proofs] == [FORMAT, FORMAT]
    code, output = run("check-proof", proof, network, spec, "--json")
    answer = json.loads(output)
    assert (code, answer["answer"]) == (0, "accepted")
    assert answer["leaves"] > 2
    spec.write_text(spec.read_text().replace("0.5))", "0.51))"))
    code, output = run("check-proof", proof, network, spec, "--json")
    assert (code, json.loads(output)["answer"]) == (1, "refused")
