"""Builds the whole site: reads results, writes pages and data files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InvalidInput
from ..measured.cells import family_of, kind_of, noise_text
from ..measured.names import slug
from . import (
    contribute,
    leaderboard_pages,
    method_pages,
    overview,
    plain_tables,
    property_pages,
    ranking_pages,
    run_pages,
    table_pages,
    viewer_pages,
)
from .images import Pictures, class_names, open_sources
from .paths import run_path, table_path
from .render import Renderer
from .shards import shard_name, write_images, write_model, write_shard
from .view import Progress, View, read

_MARKER = ".sokbench-site"
_PAGES = (
    overview,
    ranking_pages,
    leaderboard_pages,
    table_pages,
    plain_tables,
    property_pages,
    method_pages,
    run_pages,
    viewer_pages,
    contribute,
)


def quiet(message: str) -> None:
    """The default progress: says nothing."""


def build(results_dir: Path, out_dir: Path, suites: Sequence[str] | None = None, progress: Progress = quiet) -> Path:
    """Build the pages of the recorded `suites` (None: all) into `out_dir` and return the overview's path.

    `out_dir` is replaced; it must be new, empty or an earlier output. Raises `InvalidInput` if it is anything else,
    and as `journal.read_rows` does.
    """
    view = read(results_dir, suites, progress)
    return build_view(view, out_dir, progress)


def build_view(view: View, out: Path, progress: Progress = quiet) -> Path:
    """Write all pages of a view."""
    _clear(out)
    rows = [row for cell in view.cells for row in cell.rows]
    pictures = Pictures(open_sources(sorted({row.dataset for row in rows})))
    renderer = Renderer(out, _common(view))
    renderer.assets()
    progress("writing pages")
    for pages in _PAGES:
        pages.write(renderer, view)
    progress("writing data files")
    for cells in view.groups().values():
        write_model(out, cells, view.today, pictures)
    write_images(out, rows, pictures)
    write_shard(out, "index", _index(view))
    write_shard(out, "runs", _runs(view))
    return out / "index.html"


def _common(view: View) -> dict[str, object]:
    shown = [row for cell in view.cells for row in cell.rows]
    shown += [row for rows in view.rows.values() for row in rows if row.task == "property"]
    count = len(shown)
    newest = max((row.finished for row in shown), default="")
    when = f"; the newest is of {newest[:10]}" if newest else ""
    line = f"Built from {count:,} recorded rows{when}, and {len(view.records)} published records."
    return {"conflict_count": _errors(view), "build_line": line}


def _errors(view: View) -> int:
    found = (finding for report in view.reports.values() for finding in report.findings)
    return sum(finding.severity == "error" for finding in found)


def _index(view: View) -> dict[str, object]:
    """What viewers need to find their way: cells and their shards, class names."""
    with_statistics = {
        (row.suite, row.dataset, row.model, noise_text(row.noise))
        for rows in view.rows.values()
        for row in rows
        if row.task == "sample" and row.parameters.get("statistics")
    }
    groups = [
        {
            "suite": suite,
            "dataset": dataset,
            "model": model,
            "shard": shard_name(cells[0]),
            "images": slug(dataset),
            "cells": [
                {
                    "id": cell.id,
                    "label": cell.contender.label,
                    "method": cell.contender.method,
                    "parameters": cell.contender.parameters,
                    "kind": kind_of(cell.contender.method),
                    "family": family_of(cell.contender.method),
                    "task": cell.task,
                    "norm": cell.setting.norm,
                    "radius": cell.setting.radius,
                    "statistics": (suite, dataset, model, cell.contender.noise) in with_statistics,
                    "setting": cell.question,
                    "page": slug(cell.contender.method),
                    "table": table_path(cell) if cell.task == "verify" else "",
                }
                for cell in cells
            ],
        }
        for (suite, dataset, model), cells in view.groups().items()
    ]
    datasets = sorted({dataset for _, dataset, _ in view.groups()})
    return {"groups": groups, "classes": {name: class_names(name) for name in datasets}}


def _runs(view: View) -> dict[str, object]:
    """What the page of one input says about the runs behind its rows."""
    return {
        f"{suite}/{run.run}": {
            "page": run_path(suite, run.run),
            "hardware": str(run.hardware.get("cpu", "unknown hardware")),
            "python": run.python.split()[0] if run.python else "",
            "commit": run.commit,
            "clean": run.clean,
        }
        for suite, runs in view.runs.items()
        for run in runs
    }


def _clear(out: Path) -> None:
    """Empty an earlier output, never a folder that holds something else."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise InvalidInput(f"{out} holds files that are not pages of ours; give an empty or a new folder")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARKER).write_text("written by `sokbench site`; everything in here is replaced each time\n")
    except OSError as error:
        raise InvalidInput(f"cannot write pages to {out} ({error.strerror})") from None
