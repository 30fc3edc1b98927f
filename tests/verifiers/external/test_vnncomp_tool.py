"""A tool driven through its scripts: questions arrive as files, answers are judged, nothing is left running."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.property_method import property_of
from sokbench.core.registry import ROOT
from sokbench.core.vnnlib import parse_property
from sokbench.decision import answer_of, decide
from tests.sokbench.onnx_files import bump, write_chain
from verifiers.external.onnx_export import onnx_bytes

# a small tool: tries the corners and some points between, answers sat or unknown
SAMPLER = f"""
import itertools, sys
import numpy as np, onnxruntime
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from sokbench.core.vnnlib import read_property
from sokbench.core.vnnlib_text import write_counterexample
onnx, spec, results = sys.argv[1:4]
asked = read_property(Path(spec))
session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
(case,) = asked.cases
shape = [size for size in session.get_inputs()[0].shape]
generator = np.random.default_rng(0)
for share in [*itertools.product((0.0, 0.5, 1.0), repeat=min(asked.inputs, 4)), *generator.random((200, asked.inputs))]:
    share = np.resize(np.array(share), asked.inputs)
    x = (case.lower + share * (case.upper - case.lower)).astype(np.float32)
    y = session.run(None, {{session.get_inputs()[0].name: x.reshape(shape)}})[0].reshape(-1)
    if case.excess(y.astype(float)) <= 0:
        Path(results).write_text("sat\\n" + write_counterexample(x, y))
        break
else:
    Path(results).write_text("unknown\\n")
"""
SPEC = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 Y_1))"""

MakeTool = Callable[..., sokbench.core.method.Method]


@pytest.fixture
def tool(tmp_path: Path) -> MakeTool:
    """Makes a tool whose run_instance.sh has the given body ($3 ONNX, $4 VNN-LIB, $5 results, $6 seconds)."""

    def make(body: str, prepare: str = "", **options: object) -> sokbench.core.method.Method:
        folder = tmp_path / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / "prepare_instance.sh").write_text(f'test "$1" = v1 && test $# -eq 4 || exit 9\n{prepare}\n')
        (folder / "run_instance.sh").write_text(f'test "$1" = v1 && test $# -eq 6 || exit 9\n{textwrap.dedent(body)}\n')
        more = "".join(f"{name} = {value!r}\n" for name, value in options.items())
        (tmp_path / "tool.toml").write_text(f'name = "toy"\nscripts = "scripts"\n{more}')
        return sokbench.method("vnncomp_tool", config=str(tmp_path / "tool.toml"))

    return make


def ask(method: sokbench.core.method.Method, tmp_path: Path, limit: float = 20.0) -> tuple[str, sokbench.Outcome]:
    path = write_chain(tmp_path / "net.onnx", bump(0.5, 0.1))
    outcome = decide(method, sokbench.load_network(str(path)), parse_property(SPEC), limit, path)
    return answer_of(outcome.verdict, outcome.termination), outcome


def test_a_small_tool_finds_a_counterexample(tool: MakeTool, tmp_path: Path):
    (tmp_path / "sampler.py").write_text(SAMPLER)
    method = tool(f"{sys.executable} {tmp_path / 'sampler.py'} $3 $4 $5")
    answer, outcome = ask(method, tmp_path)
    assert answer == "violated"
    assert outcome.stats["witness"] == "correct"
    assert outcome.stats["tool_says"] == "sat"
    assert outcome.witness is not None
    assert abs(float(outcome.witness.reshape(-1)[0]) - 0.5) <= 0.051


@pytest.mark.parametrize(
    ("body", "answer", "reason"),
    [
        ("echo unsat > $5", "holds", ""),
        ("echo holds > $5", "holds", ""),
        ("echo unknown > $5", "unknown", ""),
        ("echo timeout > $5", "timeout", ""),
        ("echo 'sat\n((X_0 0.9))' > $5", "unknown", ""),
        ("echo violated > $5", "unknown", "no counterexample to judge"),
        ("echo 'sat\n((X_0 0.5) (X_1 0.5))' > $5", "unknown", "has 2 inputs, not 1"),
        ("echo 'sat\n((X_0 0.5)\n(Y_0 7) (Y_1 8))' > $5", "violated", ""),
        ("echo 'sat\n((X_0 1.5))' > $5", "unknown", ""),
        ("echo maybe > $5", "error", "the tool says 'maybe'"),
        ("true", "error", "left no results file"),
        ("echo no licence; exit 3", "error", "ended with 3: no licence"),
    ],
)
def test_what_a_tool_says_is_judged(tool: MakeTool, tmp_path: Path, body: str, answer: str, reason: str):
    found, outcome = ask(tool(body), tmp_path)
    assert found == answer
    assert reason in outcome.stats.get("reason", "")


def test_a_tool_is_ended_with_all_that_it_started(tool: MakeTool, tmp_path: Path):
    mark = tmp_path / "pids"
    body = f"""
        setsid sleep 300 & echo $! >> {mark}
        (setsid bash -c 'echo $$ >> {mark}; sleep 300' &)
        sleep 300
    """
    started = time.monotonic()
    answer, _ = ask(tool(body), tmp_path, limit=3.0)
    assert answer == "timeout"
    assert time.monotonic() - started < 60
    pids = [int(line) for line in mark.read_text().split()]
    assert len(pids) == 2
    assert [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []


def test_an_answer_that_was_written_counts_though_the_tool_hangs(tool: MakeTool, tmp_path: Path):
    answer, _ = ask(tool("echo unsat > $5\nsleep 300"), tmp_path, limit=3.0)
    assert answer == "holds"


def test_preparation_may_fail_and_has_its_limit(tool: MakeTool, tmp_path: Path):
    answer, outcome = ask(tool("echo unsat > $5", prepare="exit 4"), tmp_path)
    assert (answer, "prepare_instance.sh of toy ended with 4" in outcome.stats["reason"]) == ("error", True)
    assert ask(tool("echo unsat > $5", prepare="sleep 300", prepare_seconds=0.5), tmp_path)[0] == "timeout"


def test_a_ball_is_put_as_a_box_and_a_network_as_onnx(tool: MakeTool, tmp_path: Path):
    (tmp_path / "sampler.py").write_text(SAMPLER)
    method = tool(f"{sys.executable} {tmp_path / 'sampler.py'} $3 $4 $5")
    torch.manual_seed(0)
    net = sokbench.load_network(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)), input_shape=(2,))
    x = torch.tensor([0.3, 0.6])
    label = int(net(x[None]).argmax())
    outcome = method.verify(sokbench.Problem(net, x, label, sokbench.Ball("linf", 50.0)), limit=30.0)
    assert outcome.verdict == "falsified"
    assert outcome.stats["attained_margin"] <= 0
    assert method.verify(sokbench.Problem(net, x, label, sokbench.Ball("linf", 1e-6)), limit=30.0).verdict == "unknown"


def test_ours_through_our_scripts(tmp_path: Path):
    (tmp_path / "ours.toml").write_text(
        f'name = "sokbench"\nscripts = "{ROOT / "vnncomp"}"\n'
        f'environment = {{ SOKBENCH_BIN = "{Path(sys.executable).parent}", SOKBENCH_METHOD = "milp" }}\n'
    )
    method = sokbench.method("vnncomp_tool", config=str(tmp_path / "ours.toml"))
    answer, outcome = ask(method, tmp_path, limit=120.0)
    assert (answer, outcome.stats["witness"]) == ("violated", "correct")


def test_a_tool_must_be_described(tmp_path: Path):
    net = sokbench.load_network(nn.Linear(1, 2), input_shape=(1,))
    problem = sokbench.Problem(net, torch.zeros(1), int(net(torch.zeros(1, 1)).argmax()), sokbench.Ball("linf", 0.1))
    assert "config=tool.toml" in sokbench.method("vnncomp_tool").verify(problem).stats["reason"]
    for text, message in (("name = 1", "describes no tool"), ('name = "a"\nscripts = "none"', "no prepare_instance")):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(sokbench.InvalidInput, match=message):
            sokbench.method("vnncomp_tool", config=str(tmp_path / "bad.toml")).verify(problem)


def test_the_box_of_a_ball_contains_it():
    net = sokbench.load_network(nn.Linear(2, 3), input_shape=(2,))
    x = torch.tensor([0.1, 0.7])
    asked = property_of(sokbench.Problem(net, x, 1, sokbench.Ball("linf", 0.3, 0.0, 0.9)))
    (case,) = asked.cases
    assert case.lower.tolist() == [0.0, pytest.approx(0.4)]
    assert case.lower[1] <= float(x[1]) - 0.3
    assert case.upper[1] == 0.9
    assert len(case.unsafe) == 2
    tie = np.array([1.0, 1.0, 0.0])
    assert asked.violation(x.double().numpy(), tie) == 0.0
    assert asked.violation(x.double().numpy(), np.array([0.0, 1.0, 0.5])) == 0.5


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                      nn.Linear(36, 3)),
        nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 8), nn.Sigmoid(), nn.Linear(8, 4), nn.Tanh(),
                      nn.Linear(4, 2)),
    ],
)  # fmt: skip
def test_networks_written_as_onnx_are_the_same(module: nn.Module, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    module = module.eval()
    net = sokbench.load_network(module, input_shape=(2, 6, 6))
    session = onnxruntime.InferenceSession(onnx_bytes(net), providers=["CPUExecutionProvider"])
    x = torch.randn(1, 2, 6, 6)
    (found,) = session.run(None, {"x": x.numpy()})
    assert np.allclose(found, net(x).detach().numpy(), atol=1e-5)


def test_what_onnx_cannot_hold_is_refused():
    class Third(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x / 3, x], dim=1)

    with pytest.raises(sokbench.Unsupported):
        onnx_bytes(sokbench.load_network(Third(), input_shape=(1,)))


def test_the_environment_is_handed_on(tool: MakeTool, tmp_path: Path):
    method = tool("echo $WORD > $5", environment="placeholder")
    text = (tmp_path / "tool.toml").read_text().replace("'placeholder'", '{ WORD = "unsat" }')
    (tmp_path / "tool.toml").write_text(text)
    assert "WORD" not in os.environ
    assert ask(method, tmp_path)[0] == "holds"
