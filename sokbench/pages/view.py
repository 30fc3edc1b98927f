"""Everything the pages show, gathered once: rows as cells and boards, published records, runs, conflicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import journal, leaderboard
from ..audit.report import Report, read_report
from ..core.fingerprint import fingerprint
from ..core.registry import catalog
from ..measured.cells import Cell, gather, recorded_suites
from ..published import Record
from ..rows import Row, Run
from .boards import Board, boards
from .ladders import Ladder, ladders
from .measured_records import from_boards, from_certificates

Progress = Callable[[str], None]


@dataclass(frozen=True)
class View:
    """rows: newest per key, by suite; reports: what the audit found, by suite, where it ran; today: version of each
    method's code as it is now."""

    rows: Mapping[str, Sequence[Row]]
    runs: Mapping[str, Sequence[Run]]
    records: Sequence[Record]
    reports: Mapping[str, Report]
    today: Mapping[str, str]
    cells: Sequence[Cell]
    boards: Sequence[Board]
    ladders: Sequence[Ladder]

    def groups(self) -> dict[tuple[str, str, str], list[Cell]]:
        """Cells by (suite, data set, model)."""
        grouped: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            grouped[cell.suite, cell.setting.dataset, cell.model].append(cell)
        return dict(grouped)


def read(results: Path, suites: Sequence[str] | None, progress: Progress) -> View:
    """Read recorded rows and published records. Raises `InvalidInput` as `journal.read_rows` does."""
    rows = {}
    for suite in recorded_suites(results) if suites is None else suites:
        progress(f"reading {suite}")
        rows[suite] = journal.read_rows(results, suite)
    runs = {suite: journal.read_runs(results, suite) for suite in rows}
    reports = {suite: report for suite in rows if (report := read_report(results, suite)) is not None}
    return view_of(rows, runs, leaderboard.load(), reports)


def view_of(
    rows: Mapping[str, Sequence[Row]],
    runs: Mapping[str, Sequence[Run]],
    records: Sequence[Record],
    reports: Mapping[str, Report],
) -> View:
    """The view of given rows, runs, records and audits."""
    everything = [row for found in rows.values() for row in found]
    cells = gather(everything)
    used = {row.method for row in everything}
    today = {slug: fingerprint(entry) for slug, entry in catalog().items() if slug in used}
    found = boards(cells, _contradicted(reports), today)
    measured = [*from_boards(found), *from_certificates(cells, records)]
    return View(rows, runs, records, reports, today, cells, found, ladders(records, measured))


def _contradicted(reports: Mapping[str, Report]) -> set[tuple[str, str]]:
    """(suite, method) of every method that gave a wrong answer."""
    return {
        (suite, method)
        for suite, report in reports.items()
        for finding in report.findings
        if finding.severity == "error"
        for method in finding.methods
    }
