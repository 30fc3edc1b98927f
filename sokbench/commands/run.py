"""`sokbench run SUITE`: plan, run what is missing, resume."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import examples, results_option


@click.command("run")
@click.argument("suite")
@click.option("--only", multiple=True, metavar="PATTERN", help="A part of it: crown, 'mnist5k/cnn_a/*', task=radius, …")
@click.option("--retry", default="", metavar="STATUSES", help="Run rows again that ended so: timeout,crashed,memory.")
@click.option("--jobs", "-j", default=1, show_default=True, help="Jobs at a time; above 1 times are marked as shared.")
@click.option("--backend", default="loky", show_default=True, help="What spreads the jobs: loky, dask or ray.")
@click.option("--dry-run", is_flag=True, help="Show the plan and the worst-case hours, run nothing.")
@results_option
@examples(
    "sokbench run quick",
    "sokbench run quick --dry-run",
    "sokbench run quick --only crown --only 'mnist5k/cnn_a/*'",
    "sokbench run quick --retry timeout,crashed",
    "sokbench run my_suite.toml -j 2",
)
def command(
    suite: str, only: tuple[str, ...], retry: str, jobs: int, backend: str, dry_run: bool, results: Path
) -> int:
    """Run SUITE (a name or a .toml file): what is recorded is kept, what is missing is run.

    Ends with exit code 1 if jobs are left, for instance after Ctrl-C; the same command goes on there.
    """
    from .. import suites
    from ..runner.execute import run
    from ..runner.plan import plan
    from .plan_view import Bar, show

    planned = plan(suites.load(suite), results, only, [part for part in retry.split(",") if part], report=_complain)
    show(planned)
    if dry_run or planned.pending == 0:
        return 0
    with Bar() as bar:
        summary = run(planned, jobs, backend, bar, command=["sokbench", *sys.argv[1:]])
    click.echo(str(summary))
    return 1 if summary.left else 0


def _complain(message: str) -> None:
    click.echo(f"note: {message}", err=True)
