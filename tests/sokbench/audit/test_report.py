from __future__ import annotations

from pathlib import Path

import pytest

from sokbench.audit.finding import finding
from sokbench.audit.report import REPORT, read_report, write_report
from sokbench.core.errors import InvalidInput
from tests.sokbench.made import rows


def test_a_report_is_read_as_it_was_written_and_knows_its_rows(tmp_path: Path):
    (tmp_path / "s").mkdir()
    audited = rows("vuf")
    found = [finding("conflict", "crown, linf 0.1: no", audited[0])]
    write_report(tmp_path, "s", audited, found)
    report = read_report(tmp_path, "s")
    assert report is not None
    assert list(report.findings) == found
    assert report.covers(audited)
    assert not report.covers(rows("vufv"))
    assert not report.covers(rows("vuf", finished="2027-01-01T00:00:00Z"))


def test_no_report_and_a_broken_report(tmp_path: Path):
    assert read_report(tmp_path, "s") is None
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / REPORT).write_text("{")
    with pytest.raises(InvalidInput, match="sokbench audit s"):
        read_report(tmp_path, "s")


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot write"):
        write_report(tmp_path, "no such suite", [], [])
