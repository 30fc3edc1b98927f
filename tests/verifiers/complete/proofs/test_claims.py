"""What proofs are accepted for: labels, properties, files; the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sokbench
from sokbench.cli import cli
from sokbench.core.errors import InvalidInput
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from tests.verifiers.bounds.nets import dense
from tests.verifiers.complete.proofs.hard_problems import hard_problem, read_proof
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.claims import check_problems, claims_label, read_proofs


@pytest.fixture(scope="module", params=["chain", "l1"])
def proved(request, tmp_path_factory) -> tuple[Problem, Path]:
    problem = hard_problem(request.param)
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path_factory.mktemp("proofs"))).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    return problem, Path(outcome.stats["proof"])


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
        read_proofs(path)
    np.savez(path, format=np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="no proof"):
        read_proofs(path)


@pytest.fixture
def written(tmp_path) -> tuple[Path, Path]:
    """A network as a file, and a property of it: for inputs in either of two boxes, neither (Y_l <= Y_k and Y_k >= c)
    nor Y_l <= c is reached, so that there are four problems, two of them with a maximum."""
    torch.manual_seed(0)
    module = dense([2, 8, 8, 2], 3).float()
    network, spec = tmp_path / "net.onnx", tmp_path / "p.vnnlib"
    torch.onnx.export(module, (torch.zeros(1, 2),), str(network), dynamo=False)
    logits = module(torch.tensor([[0.5, 0.5]]))[0]
    label, low = int(logits.argmax()), round(float(logits.max()) - 0.5, 3)
    names = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(2))
    boxes = [" ".join(f"(>= X_{i} {a}) (<= X_{i} {b})" for i in range(2)) for a, b in ((0.47, 0.5), (0.5, 0.52))]
    box = "".join(f"(and {box})" for box in boxes)
    unsafe = f"(and (<= Y_{label} Y_{1 - label}) (>= Y_{1 - label} {low})) (and (<= Y_{label} {low}))"
    spec.write_text(f"{names}(assert (or {box}))(assert (or {unsafe}))")
    return network, spec


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.return_value, result.output


def test_a_property_from_the_command_line(written, tmp_path):
    network, spec = written
    proof = tmp_path / "proof.zip"
    assert "holds" in run("verify", network, spec, "--proof", proof)[1]
    proofs = read_proofs(proof)
    assert len(proofs) == 4
    code, output = run("check-proof", proof, network, spec, "--json")
    assert (code, json.loads(output)["answer"]) == (0, "accepted")
    spec.write_text(spec.read_text().replace("0.52", "0.53"))
    code, output = run("check-proof", proof, network, spec, "--json")
    assert (code, json.loads(output)["answer"]) == (1, "refused")
    with pytest.raises(InvalidInput, match="4 proofs"):
        run("check-proof", proof, network)


def test_every_problem_of_a_property_needs_its_proof(proved):
    problem, path = proved
    arrays = read_proof(path)
    if problem.ball.norm == "linf":
        assert check_problems([arrays], [problem])[0].margin > 0
    other = Problem(problem.network, problem.x + 0.25, problem.label, Ball("linf", problem.ball.radius))
    larger = Problem(problem.network, problem.x, problem.label, Ball("linf", problem.ball.radius + 2.0**-10))
    label = Problem(problem.network, problem.x, (problem.label + 1) % 3, problem.ball)
    for missing in (other, larger, label):
        with pytest.raises(Refused, match="no proof of problem"):
            check_problems([arrays], [missing])


def test_a_ball_is_no_proof_about_its_hull():
    """An l1 ball's proof holds in less than the box that its arrays name."""
    problem = hard_problem("l1")
    zeros = np.zeros(4)
    arrays = {"network": np.array(problem.network.sha256), "label": np.array(problem.label), "radius": np.array(0.1),
              "lower": zeros - 9, "upper": zeros + 9, "centre": zeros}  # fmt: skip
    box = Problem(problem.network, problem.x, problem.label, Ball("linf", 0.1))
    with pytest.raises(Refused, match="no proof of problem"):
        check_problems([arrays], [box])
