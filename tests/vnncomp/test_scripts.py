"""The three scripts as the competition runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sokbench.core.registry import ROOT
from sokbench.core.vnnlib import parse_property
from sokbench.core.vnnlib_text import read_counterexample
from tests.sokbench.onnx_files import bump, write_chain

SCRIPTS = ROOT / "vnncomp"
SPEC = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 {low}))(assert (<= X_0 1))(assert (>= Y_0 Y_1))"""


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SOKBENCH_BIN": str(Path(sys.executable).parent), "SOKBENCH_METHOD": "milp"}
    command = [str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A network with a bump at 0.5, the question whether it is passed between 0.7 and 1, and from 0."""
    for name, low in (("holds", 0.7), ("violated", 0.0)):
        (tmp_path / f"{name}.vnnlib").write_text(SPEC.format(low=low))
    return write_chain(tmp_path / "net.onnx", bump(0.5, 0.1)), tmp_path / "holds.vnnlib", tmp_path / "violated.vnnlib"


def test_a_property_that_holds_and_one_that_does_not(files: tuple[Path, Path, Path], tmp_path: Path):
    network, holds, violated = files
    assert run("prepare_instance.sh", "v1", "test", network, holds).returncode == 0
    results = tmp_path / "out.txt"
    done = run("run_instance.sh", "v1", "test", network, holds, results, 60)
    assert (done.returncode, done.stdout) == (0, "")
    assert results.read_text() == "unsat\n"
    assert run("run_instance.sh", "v1", "test", network, violated, results, 60).returncode == 0
    first, _, witness = results.read_text().partition("\n")
    assert first == "sat"
    asked = parse_property(violated.read_text())
    x = read_counterexample(witness)
    hidden = np.maximum([10 * x[0] - 4, 10 * x[0] - 5, 10 * x[0] - 6], 0)
    assert asked.violation(x, np.array([hidden @ [1, -2, 1], 0.5])) <= 1e-5
    assert "(Y_1 0.5))" in witness


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("install_tool.sh", ["v2"]),
        ("prepare_instance.sh", ["v1", "test"]),
        ("prepare_instance.sh", ["v1", "test", "nowhere.onnx", "nowhere.vnnlib"]),
        ("run_instance.sh", ["v2", "test", "a.onnx", "a.vnnlib", "out", "60"]),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: list[str]):
    done = run(name, *arguments)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_error_is_one_line_and_a_result(files: tuple[Path, Path, Path], tmp_path: Path):
    results = tmp_path / "out.txt"
    results.write_text("unsat\n")  # of an earlier run
    done = run("run_instance.sh", "v1", "test", files[0], tmp_path / "none.vnnlib", results, 60)
    assert done.returncode == 2
    assert results.read_text() == "error\n"
    assert done.stderr == f"error: no such file: {tmp_path / 'none.vnnlib'}\n"
