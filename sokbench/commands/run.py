"""`sokbench run SUITE`: plan, run what is missing, resume. `sokbench run --instances`: files of VNN-COMP as a suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InvalidInput
from .options import examples, results_option

if TYPE_CHECKING:
    from ..suites import Suite


@click.command("run")
@click.argument("suite", required=False)
@click.option(
    "--instances",
    multiple=True,
    metavar="PATH",
    help="Instead of SUITE: an instances.csv of VNN-COMP (network,property,seconds), or a folder of categories.",
)
@click.option("--method", multiple=True, help="With --instances: a verifier or attack; may be repeated.")
@click.option("--limit", type=float, help="With --instances: seconds at most, where an instance allows more.")
@click.option("--expected", metavar="CSV", help="With --instances: known answers (net_path,spec_path,verdict,basis).")
@click.option("--name", help="With --instances: what the suite is called; by default after the category.")
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
    "sokbench run --instances acasxu/instances.csv --method beta_crown --method reluval --limit 60",
    "sokbench run --instances vnncomp2021/dev --name vnncomp2021 --method beta_crown --limit 60",
)
def command(
    suite: str | None, only: tuple[str, ...], retry: str, jobs: int, backend: str, dry_run: bool, results: Path,
    **instances: Any,
) -> int:  # fmt: skip
    """Run SUITE (a name or a .toml file): what is recorded is kept, what is missing is run.

    Ends with exit code 1 if jobs are left, for instance after Ctrl-C; the same command goes on there.
    """
    from .. import suites
    from ..runner.execute import run
    from ..runner.plan import plan
    from .plan_view import Bar, show

    if (suite is None) == (not instances["instances"]):
        raise InvalidInput("give either a suite or --instances")
    chosen = suites.load(suite) if suite is not None else _of_instances(**instances)
    planned = plan(chosen, results, only, [part for part in retry.split(",") if part], report=_complain)
    show(planned)
    if dry_run or planned.pending == 0:
        return 0
    with Bar() as bar:
        summary = run(planned, jobs, backend, bar, command=["sokbench", *sys.argv[1:]])
    click.echo(str(summary))
    return 1 if summary.left else 0


def _of_instances(
    instances: tuple[str, ...], method: tuple[str, ...], limit: float | None, expected: str | None, name: str | None
) -> Suite:
    from ..suites import in_memory
    from ..suites.schema import Limits, PropertyBlock, SuiteFile

    if not method:
        raise InvalidInput("--instances needs a --method")
    folders = {path.parent if path.is_file() else path for path in (Path(given).resolve() for given in instances)}
    named = name or (folders.pop().name if len(folders) == 1 else "instances")
    block = PropertyBlock(instances=instances, methods=method, expected=expected, limits=Limits(wall=limit))
    return in_memory(SuiteFile(name=named, title="", property=(block,)), Path.cwd())


def _complain(message: str) -> None:
    click.echo(f"note: {message}", err=True)
