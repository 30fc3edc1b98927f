"""How a plan and a run look in a terminal."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ..rows import Row

if TYPE_CHECKING:
    from ..runner.plan import Plan


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show(plan: Plan) -> None:
    """The plan, a line per method, with what is left to run and how long it may take at worst."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("task", "method", "models", "done", "missing", "stale", "retried"):
        table.add_column(column, justify="left" if column in ("task", "method") else "right")
    counts: dict[tuple[str, str], Counter[str]] = {}
    models: dict[tuple[str, str], set[str]] = {}
    for status in plan.statuses:
        name = (str(status.series.task), status.series.method)
        models.setdefault(name, set()).add(status.series.model)
        counts.setdefault(name, Counter()).update(
            done=status.done, missing=status.missing, stale=status.stale, retried=status.retried
        )
    for name, count in counts.items():
        table.add_row(*name, str(len(models[name])), *(str(count[c]) for c in ("done", "missing", "stale", "retried")))
    Console().print(table)
    if plan.expansion.untrained:
        click.echo(f"not trained here, and left out: {', '.join(plan.expansion.untrained)}")
        click.echo(f"train one with: python -m models.train {plan.expansion.untrained[0]}")
    if plan.pending == 0:
        click.echo(f"suite {plan.suite.name}: all {plan.done} jobs are recorded, nothing to run")
        return
    click.echo(
        f"suite {plan.suite.name}: {plan.pending} jobs to run, {plan.done} recorded; "
        f"at worst {duration(plan.worst_case_seconds)} with one job at a time"
    )


class Bar:
    """A progress bar with the time left; plain lines now and then where the output is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._spoke = time.monotonic()

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def started(self, run: str, jobs: int) -> None:
        self._task = self._bar.add_task("starting the workers", total=jobs, left="")
        if not self._console.is_terminal:
            click.echo(f"run {run}: {jobs} jobs", err=True)

    def recorded(self, row: Row, done: int, jobs: int, seconds_left: float) -> None:
        if self._task is not None:
            left = f"about {duration(seconds_left)} left"
            description = f"{row.method} on {row.model}, input {row.index}"
            self._bar.update(self._task, completed=done, description=description, left=left)
            # a log file is not a terminal: a line every quarter of a minute says enough
            if not self._console.is_terminal and time.monotonic() - self._spoke > 15:
                self._spoke = time.monotonic()
                click.echo(f"{done}/{jobs} {left}: {description}", err=True)

    def message(self, text: str) -> None:
        click.echo(f"note: {text}", err=True)
