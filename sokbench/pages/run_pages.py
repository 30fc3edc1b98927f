"""Provenance: one page per run with everything that is true of all its rows, the list of runs, and conflicts."""

from __future__ import annotations

from collections import Counter

from .paths import inputs_path, method_path, run_path
from .render import Renderer
from .view import View


def write(renderer: Renderer, view: View) -> None:
    rows = Counter((row.suite, row.run) for cell in view.cells for row in cell.rows)
    runs = [run for found in view.runs.values() for run in found]
    runs.sort(key=lambda run: run.started, reverse=True)
    listed = [(run, run_path(run.suite, run.run), rows[run.suite, run.run]) for run in runs]
    renderer.page("runs/index.html", "run_index.html", section="runs/index.html", runs=listed)
    for run, path, count in listed:
        renderer.page(path, "run.html", section="runs/index.html", run=run, count=count)
    renderer.page(
        "conflicts.html",
        "conflicts.html",
        section="conflicts.html",
        conflicts=view.conflicts,
        method_path=method_path,
        inputs_path=inputs_path,
    )
