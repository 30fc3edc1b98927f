"""Every kind of finding is planted once; correct rows have none.

The network has logits (1, 4 pixel, 0, ...), so the margin of class 0 is 1 - 4 pixel and a linf ball loses it at 0.25.
"""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import msgspec
import numpy as np
import pytest

from sokbench import data
from sokbench.audit import Finding, audit
from sokbench.audit.finding import KINDS, Kind
from sokbench.networks import network_sha256
from sokbench.rows import Row, pack

MODEL = "tests.sokbench.audit.network:pixel"


def row(method: str, radius: float | None, **fields) -> Row:
    """An answer about input 0, whose label is 0 and whose first pixel is 0."""
    common = {
        "key": f"{method}{radius}{len(fields)}",
        "run": "r",
        "suite": "s",
        "task": "verify",
        "dataset": "mnist5k",
        "data_sha256": data.load("mnist5k").test.sha256,
        "index": 0,
        "label": 0,
        "model": MODEL,
        "model_sha256": network_sha256(MODEL),
        "method_version": "v",
        "norm": "linf",
        "low": 0.0,
        "high": 1.0,
        "limit": 60.0,
        "memory": 2**33,
    }
    return Row(method=method, radius=radius, **{**common, **fields})


def witness(pixel: float):
    x = np.array(data.load("mnist5k").test.image(0))
    x[0, 0, 0] = pixel
    return pack(x)


def verified(method: str, radius: float | None, **fields) -> Row:
    return row(method, radius, verdict="verified", **fields)


def falsified(method: str, radius: float, pixel: float, **fields) -> Row:
    stats = {"attained_margin": 1 - 4 * pixel}
    return row(method, radius, **{"verdict": "falsified", "witness": witness(pixel), "stats": stats, **fields})


def certificates(**fields) -> list[Row]:
    noise = {"kind": "gaussian", "sigma": 0.5}
    drawn = {"noise": noise, "parameters": {"n0": 10, "n": 100}, "low": None, "high": None}
    counts = np.array([[8, 2, *[0] * 8], [90, 10, *[0] * 8]])
    sample = row("sampling", None, **{**drawn, "task": "sample", "norm": "", "counts": pack(counts)})
    answer = {"prediction": 0, "certified_radius": 0.4, "p": 0.8, "q": 0.2, "alpha": 0.001, "norm": "l2"}
    certificate = row("neyman_pearson", None, **{**drawn, "task": "certify", **answer, **fields})
    return [sample, certificate]


def instance(expected: str) -> Row:
    """An instance of VNN-COMP that is said to hold."""
    return verified("crown", None, task="property", norm="", spec="p.vnnlib", expected=expected)


CORRECT = [
    instance("holds single_tool"),
    instance("disputed tools_disagree"),
    verified("crown", 0.2, margin=0.2),
    verified("ibp", 0.1, margin=0.5),
    row("ibp", 0.2, margin=-0.3),
    row("pgd", 0.2, stats={"attained_margin": 0.2 + 1e-8}),
    falsified("pgd", 0.3, 0.29),
    falsified("milp", 0.3, 0.25, margin=-0.2),
    row("crown", 0.3, margin=-0.2),
    row("lp_full", 0.3, termination="timeout"),
    row("clean", 0.3, stats={"attained_margin": 1.0}),
    row("crown", None, task="radius", certified_radius=0.2499, stats={"refuted": 0.25, "steps": 9}),
    row("op_norm", 0.25, norm="l2", termination="unsupported"),
]


def kinds(rows: list[Row]) -> list[str]:
    return [finding.kind for finding in audit(rows)]


def test_correct_rows_have_no_findings():
    assert audit([*CORRECT, *certificates()]) == []
    assert audit([]) == []


PLANTED: list[tuple[Kind, list[Row]]] = [
    ("conflict", [verified("crown", 0.3), falsified("pgd", 0.3, 0.26)]),
    ("conflict", [verified("crown", 0.3), falsified("pgd", 0.28, 0.26)]),
    ("conflict", [verified("crown", 0.3, norm="l2"), falsified("pgd", 0.28, 0.26)]),
    ("conflict", [row("ibp", None, task="radius", certified_radius=0.27), falsified("pgd", 0.28, 0.26)]),
    ("bound_above_loss", [row("crown", 0.2, margin=0.3), row("pgd", 0.1, stats={"attained_margin": 0.25})]),
    ("bound_above_loss", [row("crown", 0.2, margin=1.1)]),
    ("bad_witness", [falsified("pgd", 0.3, 0.2)]),
    ("bad_witness", [falsified("pgd", 0.3, 0.35)]),
    ("bad_witness", [falsified("pgd", 0.3, float("nan"))]),
    ("bad_witness", [row("pgd", 0.3, verdict="falsified", witness=pack(np.zeros(3, dtype=np.float32)))]),
    ("bad_witness", [falsified("pgd", 0.3, 0.28, high=0.27)]),
    ("missing_witness", [row("milp", 0.3, verdict="falsified")]),
    ("wrong_label", [row("crown", 0.3, label=1)]),
    ("attack_verifies", [verified("pgd", 0.1)]),
    ("bad_number", [row("ibp", None, task="radius", certified_radius=-1.0)]),
    ("bad_number", [row("ibp", 0.1, margin=float("-inf"))]),
    ("not_monotone", [verified("crown", 0.2), row("crown", 0.1)]),
    ("not_monotone", [verified("crown", 0.2), row("crown", None, task="radius", stats={"refuted": 0.1})]),
    ("looser_than_promised", [row("crown", 0.2, margin=-1.0), row("ibp", 0.2, margin=0.1)]),
    ("contradicts_known", [instance("violated counterexample_rechecked")]),
    ("differs_from_known", [instance("violated tools_agree")]),
    ("bad_certificate", certificates(prediction=-1)),
    ("bad_certificate", certificates(prediction=1)),
    ("bad_certificate", certificates(p=0.95)),
    ("bad_certificate", certificates(certified_radius=-0.1)),
    ("bad_certificate", certificates(certified_radius=None)),
    ("bad_counts", [msgspec.structs.replace(certificates()[0], parameters={"n0": 10, "n": 99})]),
    ("unchecked", [row("crown", 0.3, model_sha256="another")]),
    ("unchecked", [row("crown", 0.3, data_sha256="another")]),
]


@pytest.mark.parametrize(("kind", "rows"), PLANTED, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(PLANTED)])
def test_a_planted_fault_is_found(kind: Kind, rows: list[Row]):
    assert kinds(rows) == [kind]


def test_every_kind_is_planted_and_explained():
    assert {kind for kind, _ in PLANTED} == set(get_args(Kind)) == set(KINDS)


def test_the_method_at_fault_is_the_one_that_verified():
    (found,) = audit([falsified("pgd", 0.3, 0.26), wrong := verified("crown", 0.3)])
    assert isinstance(found, Finding)
    assert (found.severity, found.methods, found.index) == ("error", ("crown",), 0)
    assert found.rows[0] == wrong.key
    assert "the witness of pgd is misclassified (margin -0.04)" in found.message


def test_a_bad_witness_outside_its_ball_still_contradicts_a_larger_one():
    rows = [falsified("pgd", 0.2, 0.26), verified("crown", 0.3)]
    assert kinds(rows) == ["bad_witness", "conflict"] or kinds(rows) == ["conflict", "bad_witness"]


def test_a_misclassified_input_contradicts_every_verified_ball():
    # input 1 shows a 1, and the network says 0
    rows = [row("crown", 0.0, verdict="verified", index=1, label=1)]
    assert kinds(rows) == ["conflict"]
    assert "the input itself is misclassified" in audit(rows)[0].message


def test_errors_come_first():
    rows = [verified("crown", 0.2), row("crown", 0.1), falsified("pgd", 0.3, 0.2)]
    assert [finding.severity for finding in audit(rows)] == ["error", "warning"]


def test_importing_the_audit_loads_no_torch():
    code = "import sys, sokbench.audit; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
