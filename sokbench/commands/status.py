"""`sokbench status`: what is recorded, missing and stale, and how the recorded jobs ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from .options import examples, json_option, print_json, results_option


@click.command("status")
@click.argument("suite")
@results_option
@json_option
@examples("sokbench status quick", "sokbench status quick --json")
def command(suite: str, results: Path, as_json: bool) -> None:
    """Show how far SUITE is, and how its recorded jobs ended. Runs nothing."""
    from .. import journal, suites
    from ..runner.plan import plan
    from .plan_view import show

    planned = plan(suites.load(suite), results)
    endings = Counter(row.termination for row in journal.read_rows(results, planned.suite.name))
    if as_json:
        counts = {name: getattr(planned, name) for name in ("done", "missing", "stale", "pending")}
        seconds = planned.worst_case_seconds
        print_json({"suite": planned.suite.name, **counts, "worst_case_seconds": seconds, "terminations": endings})
        return
    show(planned)
    click.echo("recorded: " + (", ".join(f"{count} {name}" for name, count in endings.most_common()) or "nothing"))
