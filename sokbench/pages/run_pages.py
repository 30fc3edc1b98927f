"""Provenance: one page per run with everything that is true of all its rows, the list of runs, and conflicts."""

from __future__ import annotations

from collections import Counter

from ..audit.finding import KINDS, Finding
from .paths import input_path, run_path
from .render import Renderer
from .view import View


def write(renderer: Renderer, view: View) -> None:
    rows = Counter((row.suite, row.run) for cell in view.cells for row in cell.rows)
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
        findings=_listed(view),
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


def _listed(view: View) -> list[tuple[str, Finding, str]]:
    """(suite, finding, address of the input it is about), errors first."""
    questions = {row.key: cell.question for cell in view.cells for row in cell.rows} if view.reports else {}
    found = []
    for suite, report in view.reports.items():
        for finding in report.findings:
            question = next((questions[key] for key in finding.rows if key in questions), "")
            path = input_path(suite, finding.dataset, finding.model, question, finding.index)
            found.append((suite, finding, path if question else ""))
    return sorted(found, key=lambda each: each[1].severity != "error")
