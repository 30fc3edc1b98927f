"""The audit on record, results/<suite>/audit.json: pages show findings without evaluating networks again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..core.errors import InvalidInput
from ..rows import Row
from .finding import Finding

REPORT: Final = "audit.json"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """rows: how many were audited; newest: when the newest of them was finished; findings: errors first."""

    rows: int
    newest: str
    findings: tuple[Finding, ...]

    def covers(self, rows: Sequence[Row]) -> bool:
        """Whether these are the rows that were audited, as far as can be told without looking at each."""
        return (self.rows, self.newest) == (len(rows), _newest(rows))


def write_report(results: Path, suite: str, rows: Sequence[Row], findings: Sequence[Finding]) -> Path:
    """Record what the audit of all `rows` of a suite found. Raises `InvalidInput` if it cannot be written."""
    path = results / suite / REPORT
    report = Report(rows=len(rows), newest=_newest(rows), findings=tuple(findings))
    try:
        partial = path.with_suffix(".part")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        partial.rename(path)
    except OSError as error:
        raise InvalidInput(f"cannot write the audit to {path} ({error.strerror})") from None
    return path


def read_report(results: Path, suite: str) -> Report | None:
    """The recorded audit of a suite, or None. Raises `InvalidInput` if it is broken."""
    path = results / suite / REPORT
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} is broken ({error}); run `sokbench audit {suite}` again") from None


def _newest(rows: Sequence[Row]) -> str:
    return max((row.finished for row in rows), default="")
