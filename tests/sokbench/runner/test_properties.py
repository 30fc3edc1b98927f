"""Instances of VNN-COMP from the command to rows, pages and back: run, resume, audit, verify."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sokbench.journal import read_rows
from sokbench.rows import unpack
from tests.sokbench.onnx_files import bump, write_chain

SPEC = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 {low}))(assert (<= X_0 1))(assert (>= Y_0 Y_1))"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "bumps"
    folder.mkdir()
    write_chain(folder / "net.onnx", bump(0.5, 0.1))
    for name, low in (("holds", 0.7), ("violated", 0.0)):
        (folder / f"{name}.vnnlib").write_text(SPEC.format(low=low))
    (folder / "instances.csv").write_text("net.onnx,holds.vnnlib,30\nnet.onnx,violated.vnnlib,30\n")
    return tmp_path


def sokbench(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sokbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=300, check=False)


def test_a_suite_of_instances_runs_resumes_and_passes_the_audit(place: Path):
    command = ("run", "--instances", "bumps/instances.csv", "--method", "milp", "--method", "crown")
    done = sokbench(place, *command)
    assert done.returncode == 0, done.stderr
    rows = {(row.method, row.index): row for row in read_rows(place / "results", "bumps")}
    assert {key: row.verdict for key, row in rows.items()} == {
        ("milp", 0): "verified",
        ("milp", 1): "falsified",
        ("crown", 0): "verified",
        ("crown", 1): "falsified",  # the centre of the box is a counterexample already
    }
    witness = rows["milp", 1].witness
    assert witness is not None
    assert abs(float(unpack(witness)[0]) - 0.5) <= 0.051
    assert (rows["milp", 1].spec, rows["milp", 1].model) == ("bumps/violated.vnnlib", "bumps/net.onnx")
    assert rows["milp", 0].task == "property"
    assert "nothing to run" in sokbench(place, *command).stdout
    assert "audit of bumps: clean" in sokbench(place, "audit").stdout


def test_verify_answers_in_vnncomp_s_words(place: Path):
    question = ("verify", "bumps/net.onnx", "bumps/violated.vnnlib", "--method", "milp")
    done = sokbench(place, *question, "--result", "out.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("violated\n((X_0 ")
    assert (place / "out.txt").read_text() == done.stdout.replace("violated", "sat")
    answer = json.loads(sokbench(place, *question, "--json").stdout)
    assert set(answer) == {"answer", "witness", "seconds", "margin", "stats"}
    assert (answer["answer"], answer["stats"]["witness"]) == ("violated", "correct")
    assert answer["witness"].startswith("((X_0 ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["bumps/net.onnx", "none.vnnlib"], 2, "error: no such file: none.vnnlib"),
        (["none.onnx", "bumps/holds.vnnlib"], 2, "error: no such file: none.onnx"),
        (["mnist5k/cnn_a/cadv", "bumps/holds.vnnlib"], 2, "error: mnist5k/cnn_a/cadv: a VNN-LIB property is asked of"),
        (
            ["bumps/net.onnx", "bumps/wide.vnnlib"],
            2,
            "error: the property is about 2 inputs and 2 outputs, but net.onnx",
        ),
        (["bumps/net.onnx", "bumps/strict.vnnlib"], 3, "unsupported: strict.vnnlib: (< Y_0 1)"),
        (["bumps/net.onnx", "bumps/holds.vnnlib", "--method", "mlip"], 2, "error: unknown method 'mlip'; did you mean"),
        (["bumps/net.onnx", "--index", "3"], 2, "error: --method is missing"),
    ],
)
def test_errors_are_one_line(place: Path, arguments: list[str], code: int, message: str):
    spec = SPEC.format(low=0)
    (place / "bumps/strict.vnnlib").write_text(spec + "(assert (< Y_0 1))")
    (place / "bumps/wide.vnnlib").write_text(
        spec.replace("(declare-const Y_0", "(declare-const X_1 Real)(declare-const Y_0")
        + "(assert (<= X_1 1))(assert (>= X_1 0))"
    )
    done = sokbench(place, "verify", *arguments)
    assert done.returncode == code
    assert done.stderr.strip().splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_run_needs_a_suite_or_instances(place: Path):
    assert "give either a suite or --instances" in sokbench(place, "run").stderr
    assert "needs a --method" in sokbench(place, "run", "--instances", "bumps/instances.csv").stderr
