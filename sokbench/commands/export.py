"""`sokbench export SUITE FILE`: recorded rows for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from .options import examples, results_option


@click.command("export")
@click.argument("suite")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@results_option
@examples("sokbench export quick quick.parquet", "sokbench export quick quick.csv")
def command(suite: str, file: Path, results: Path) -> None:
    """Write the newest row of every job of SUITE to FILE: .parquet keeps everything, .csv is for spreadsheets."""
    from .. import export, journal

    rows = journal.read_rows(results, suite)
    if not rows:
        known = sorted(path.parent.name for path in results.glob("*/*/rows.jsonl"))
        raise click.UsageError(f"nothing is recorded for {suite!r} in {results}; recorded: {', '.join(set(known))}")
    click.echo(f"{len(rows)} rows in {export.export(rows, file)}")
