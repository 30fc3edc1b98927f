"""A property, a method, and the answer: witnesses are judged in the original network, time is shared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict
from sokbench.core.problem import Problem
from sokbench.core.replay import replay
from sokbench.core.vnnlib import parse_property
from sokbench.decision import answer_of, decide
from tests.sokbench.onnx_files import bump, write_chain

TWO_BOXES = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (or (and (>= X_0 0) (<= X_0 1) (<= Y_0 -5)) (and (>= X_0 2) (<= X_0 3) (<= Y_0 -5))))"""


def line(slope: float = 1.0) -> sokbench.Network:
    """y = (slope x, 0)."""
    module = nn.Linear(1, 2)
    module.weight.data, module.bias.data = torch.tensor([[slope], [0.0]]), torch.zeros(2)
    return sokbench.load_network(module, input_shape=(1,))


@dataclass
class Scripted(CompleteVerifier):
    """Answers as told, one outcome after another, and remembers the time it was given."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="scripted", title="t", kind="verifier", family="baseline", norms=("linf",), summary="s", paper="p"
    )
    outcomes: list[Outcome]
    limits: list[float]

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        self.limits.append(deadline.remaining())
        return self.outcomes.pop(0)


def scripted(*outcomes: Outcome) -> Scripted:
    return Scripted(list(outcomes), [])


HOLDS = Outcome(Verdict.VERIFIED, margin=2.0)
OPEN = Outcome(Verdict.UNKNOWN, margin=-1.0)
LATE = Outcome(Verdict.UNKNOWN, termination=Termination.TIMEOUT)


@pytest.mark.parametrize(
    ("outcomes", "verdict", "termination", "margin"),
    [
        ((HOLDS, Outcome(Verdict.VERIFIED, margin=1.0)), "verified", "ok", 1.0),
        ((HOLDS, OPEN), "unknown", "ok", -1.0),
        ((LATE, HOLDS), "unknown", "timeout", None),
        ((OPEN, LATE), "unknown", "timeout", None),
    ],
)
def test_all_problems_must_hold(outcomes: tuple[Outcome, ...], verdict: str, termination: str, margin: float | None):
    method = scripted(*outcomes)
    found = decide(method, line(), parse_property(TWO_BOXES), limit=800.0)
    assert (found.verdict, found.termination, found.margin) == (verdict, termination, margin)
    assert method.limits[0] == pytest.approx(400.0, abs=50.0)
    assert method.limits[1] > 700.0  # what the first left over


def test_a_witness_in_one_box_is_enough():
    found = decide(scripted(OPEN), line(-2.0), parse_property(TWO_BOXES.replace("-5", "-3")), limit=8.0)
    assert found.verdict is Verdict.FALSIFIED
    assert found.witness is not None
    assert 2 <= float(found.witness[0]) <= 3
    assert found.stats["witness"] == "correct"
    assert found.stats["judged_by"] == "float64"
    assert found.stats["outputs"][0] <= -3


def test_no_cases_hold_and_wrong_sizes_are_refused():
    nothing = parse_property(TWO_BOXES + "(assert (<= 1 0))")
    assert decide(scripted(), line(), nothing).verdict is Verdict.VERIFIED
    with pytest.raises(sokbench.InvalidInput, match="1 outputs, but Linear has 1 and 2"):
        decide(scripted(), line(), parse_property(TWO_BOXES.replace("(declare-const Y_1 Real)", "")))


def test_no_time_is_a_timeout():
    found = decide(scripted(HOLDS, HOLDS), line(), parse_property(TWO_BOXES), limit=0.0)
    assert answer_of(found.verdict, found.termination) == "timeout"


def test_unsupported_is_an_answer_with_a_reason():
    odd = TWO_BOXES.replace("<= Y_0 -5", "<= (* 0.1 Y_0) -5")
    found = decide(scripted(), line(), parse_property(odd))
    assert found.termination is Termination.UNSUPPORTED
    assert "float32" in found.stats["reason"]
    assert answer_of(found.verdict, found.termination) == "unknown"


UNSUPPORTED = Outcome(Verdict.UNKNOWN, termination=Termination.UNSUPPORTED, stats={"reason": "branches"})
TWO_ROWS = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 0))(assert (<= X_0 1))(assert (<= Y_0 -1))(assert (<= Y_1 -2))"""


@pytest.mark.parametrize(
    ("outcomes", "verdict", "stats"),
    [
        ((UNSUPPORTED, OPEN, HOLDS), "verified", {"row": 1}),
        ((UNSUPPORTED, OPEN, OPEN), "unknown", {"reason": "branches"}),
        ((UNSUPPORTED, UNSUPPORTED, UNSUPPORTED), "unknown", {"reason": "branches"}),
    ],
)
def test_rows_alone_may_settle_what_a_method_cannot_take_together(
    outcomes: tuple[Outcome, ...], verdict: str, stats: dict[str, object]
):
    found = decide(scripted(*outcomes), line(), parse_property(TWO_ROWS), limit=800.0)
    assert found.verdict == verdict
    assert stats.items() <= found.stats.items()


@pytest.mark.parametrize(
    ("verdict", "termination", "answer"),
    [
        ("verified", "ok", "holds"),
        ("falsified", "ok", "violated"),
        ("falsified", "timeout", "violated"),
        ("unknown", "ok", "unknown"),
        ("unknown", "crashed", "error"),
        ("unknown", "memory", "error"),
        ("unknown", "skipped", "unknown"),
    ],
)
def test_answers(verdict: str, termination: str, answer: str):
    assert answer_of(verdict, termination) == answer


def test_a_witness_is_judged_by_onnxruntime_too(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    path = write_chain(tmp_path / "bump.onnx", bump(0.5, 0.1))
    net = sokbench.load_network(str(path))
    asked = parse_property(
        "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        "(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 Y_1))"
    )
    top = replay(asked, net, np.array([0.5], dtype=np.float32), path)
    assert (top.verdict, top.outside) == ("correct", 0.0)
    assert top.onnx == pytest.approx(top.exact, abs=1e-5)
    assert top.outputs.dtype == np.float32
    assert replay(asked, net, np.array([0.1], dtype=np.float32), path).verdict == "spec_not_violated"
    assert replay(asked, net, np.array([7.0], dtype=np.float32), path).exact == np.inf


def test_an_input_slightly_outside_is_correct_up_to_tolerance():
    asked = parse_property(TWO_BOXES.replace("(<= Y_0 -5)", "(<= Y_0 50)"))
    assert replay(asked, line(), np.array([1.00005], dtype=np.float32), None).verdict == "correct_up_to_tolerance"
    assert replay(asked, line(), np.array([1.0005], dtype=np.float32), None).verdict == "spec_not_violated"


def test_a_violation_in_float64_alone_is_none(monkeypatch: pytest.MonkeyPatch):
    asked = parse_property(TWO_BOXES.replace("(<= Y_0 -5)", "(<= Y_0 50)"))
    monkeypatch.setattr("sokbench.core.replay.run_onnx", lambda path, x: np.array([50.5, 0.0], dtype=np.float32))
    found = replay(asked, line(), np.array([1.0], dtype=np.float32), Path("any.onnx"))
    assert found.exact <= 0 < (found.onnx or 0.0)
    assert not found.valid
