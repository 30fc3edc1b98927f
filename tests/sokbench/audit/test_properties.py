"""Answers about properties against witnesses that are evaluated again, in files made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sokbench.audit import audit
from sokbench.rows import Row, pack
from sokbench.suites.instances import file_sha256
from tests.sokbench.onnx_files import bump, write_chain

SPEC = """(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 Y_1))"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A network with a bump of height 1 at 0.5, reaching 0.5 between 0.45 and 0.55."""
    write_chain(tmp_path / "net.onnx", bump(0.5, 0.1))
    (tmp_path / "spec.vnnlib").write_text(SPEC)
    return tmp_path


def row(base: Path, method: str, verdict: str, x: float | list[float] | None = None, **fields: Any) -> Row:
    witness = None if x is None else pack(np.atleast_1d(np.array(x, dtype=np.float32)))
    defaults: dict[str, Any] = {
        "model_sha256": file_sha256(base / "net.onnx"),
        "data_sha256": file_sha256(base / "spec.vnnlib"),
    }
    return Row(
        key=f"{method}{verdict}{x}", run="r", suite="s", task="property", dataset="cat", index=0, label=0,
        model="net.onnx", spec="spec.vnnlib", method=method, method_version="v", norm="", limit=60.0, memory=1,
        verdict=verdict, witness=witness, **{**defaults, **fields},
    )  # fmt: skip


def test_correct_answers_have_no_findings(base: Path):
    rows = [row(base, "milp", "falsified", 0.5), row(base, "pgd", "falsified", 0.46, margin=-0.6), row(base, "crown",
            "unknown", margin=-0.6)]  # fmt: skip
    assert audit(rows, base) == []


@pytest.mark.parametrize(
    ("kind", "words", "answers"),
    [
        ("conflict", "the witness of pgd violates", [("crown", "verified", None, {}), ("pgd", "falsified", 0.5, {})]),
        ("bad_witness", "misses the unsafe set by 0.5", [("pgd", "falsified", 0.3, {})]),
        ("bad_witness", "misses the unsafe set by inf", [("pgd", "falsified", 1.2, {})]),
        ("bad_witness", "another shape", [("pgd", "falsified", [0.5, 0.5], {})]),
        ("missing_witness", "without a witness", [("milp", "falsified", None, {})]),
        ("attack_verifies", "cannot verify", [("pgd", "verified", None, {})]),
        (
            "bound_above_loss",
            "bound -0.1, but the witness of pgd attains -0.5",
            [("crown", "unknown", None, {"margin": -0.1}), ("pgd", "falsified", 0.5, {})],
        ),
        ("unchecked", "not the one recorded", [("pgd", "falsified", 0.5, {"model_sha256": "0" * 64})]),
        ("unchecked", "not the one recorded", [("pgd", "falsified", 0.5, {"data_sha256": "0" * 64})]),
    ],
)
def test_a_planted_fault_is_found(base: Path, kind: str, words: str, answers: list[tuple[str, str, Any, Any]]):
    rows = [row(base, method, verdict, x, **fields) for method, verdict, x, fields in answers]
    (found,) = audit(rows, base)
    assert found.kind == kind
    assert words in found.message
    assert found.methods == (answers[0][0],)


def test_a_witness_that_needs_the_tolerance_contradicts_nobody(base: Path):
    (base / "spec.vnnlib").write_text(SPEC.replace("(<= X_0 1)", "(<= X_0 0.44999)"))
    rows = [row(base, "crown", "verified"), row(base, "pgd", "falsified", 0.45002)]
    assert audit(rows, base) == []


def test_files_that_are_gone_are_said_to_be(base: Path):
    rows = [row(base, "pgd", "falsified", 0.5)]
    (base / "net.onnx").unlink()
    (found,) = audit(rows, base)
    assert (found.kind, found.severity) == ("unchecked", "warning")
