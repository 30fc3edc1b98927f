"""Provenance: one page per run with everything that is true of all its rows, the list of runs, and conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..audit.finding import KINDS, Finding
from .paths import input_path, run_path
from .property_boards import PropertyBoard, property_boards
from .render import Renderer
from .view import View


def write(renderer: Renderer, view: View) -> None:
    boards = property_boards(view.rows)
    answers = [row for board in boards for entrant in board.entrants for row in entrant.rows]
    rows = Counter((row.suite, row.run) for row in (*(row for cell in view.cells for row in cell.rows), *answers))
    runs = [run for found in view.runs.values() for run in found]
    runs.sort(key=lambda run: run.started, reverse=True)
    listed = [(run, run_path(run.suite, run.run), rows[run.suite, run.run]) for run in runs]
    renderer.page("runs/index.html", "run_index.html", section="runs/index.html", runs=listed)
    for run, path, count in listed:
        renderer.page(path, "run.html", section="runs/index.html", run=run, count=count, run_value=run_value)
    renderer.page(
        "conflicts.html",
        "conflicts.html",
        section="conflicts.html",
        findings=_listed(view, boards),
        kinds=KINDS,
        unaudited=[suite for suite in view.rows if suite not in view.reports],
        outdated=[suite for suite, report in view.reports.items() if not report.covers(view.rows[suite])],
    )


def run_value(key: str, value: object) -> str:
    """A number or list of a run's description, for people."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if key.endswith("_bytes") and isinstance(value, int | float):
        return f"{value / 2**30:g} GiB"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(view: View, boards: Sequence[PropertyBoard]) -> list[tuple[str, Finding, str]]:
    """(suite, finding, address of the input it is about), errors first."""
    questions = {row.key: cell.question for cell in view.cells for row in cell.rows} if view.reports else {}
    pages = {
        r.key: question.path for board in boards for question in board.questions for r in question.answers.values()
    }
    found = []
    for suite, report in view.reports.items():
        for finding in report.findings:
            question = next((questions[key] for key in finding.rows if key in questions), "")
            path = input_path(suite, finding.dataset, finding.model, question, finding.index)
            own = next((pages[key] for key in finding.rows if key in pages), "")
            found.append((suite, finding, path if question else own))
    return sorted(found, key=lambda each: each[1].severity != "error")
