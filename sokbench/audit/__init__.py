"""The audit: are the recorded answers consistent with the networks, and with each other?

Every witness is evaluated again in float64, outside the method that gave it. Every "verified" and every lower bound is
confronted with all witnesses and attacked losses of all methods; then methods with themselves (radii) and with what
theory promises (`MethodInfo.tighter_than`). An error is a wrong answer; the method belongs out of the ranking. A
warning is something to explain.

This is the only part of the harness outside the workers that loads torch, and only if there is something to evaluate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..rows import Row
from .certificates import check_certificates
from .claims import check_claims
from .evidence import Scene, Splits, scenes
from .finding import Finding
from .promises import check_promises, check_radii
from .properties import check_properties

__all__ = ["Finding", "audit"]


def audit(rows: Iterable[Row], base: Path | None = None) -> list[Finding]:
    """Everything that is wrong or strange in `rows`, errors first; empty is good.

    base: the folder where relative names of networks start (a suite's folder); the working directory by default
    """
    problems: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        problems[row.dataset, row.data_sha256, row.model, row.model_sha256].append(row)
    findings: list[Finding] = []
    splits: Splits = {}
    for together in problems.values():
        answers = [row for row in together if row.task in ("verify", "radius")]
        found, unchecked = scenes(answers, base or Path(), splits)
        findings += unchecked
        for scene in found:
            findings += check_input(scene)
        findings += check_properties([row for row in together if row.task == "property"], base or Path())
        findings += check_certificates([row for row in together if row.task in ("sample", "certify")])
    return sorted(findings, key=lambda finding: (finding.severity != "error", finding.kind))


def check_input(scene: Scene) -> list[Finding]:
    """All checks of the answers about one input of one network."""
    return [*check_claims(scene), *check_radii(scene.rows), *check_promises(scene.rows)]
