"""`sokbench tables`: the paper tables, from recorded rows, published records and as printed."""

from __future__ import annotations

from pathlib import Path

import click

from .options import examples, results_option


@click.command("tables")
@click.argument("names", nargs=-1)
@click.option("--show", is_flag=True, help="Print the tables as text instead of writing files.")
@click.option("--suite", "suites", multiple=True, help="Only rows of this suite; may be repeated. [default: all]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write them. [default: tables in the results directory]",
)
@results_option
@examples("sokbench tables", "sokbench tables sok-table3 --show", "sokbench tables sok2022_table4 --show")
def command(names: tuple[str, ...], show: bool, suites: tuple[str, ...], out: Path | None, results: Path) -> None:
    """Write the tables NAMES (all by default) as text, CSV, LaTeX, HTML and Markdown.

    Names: sok-table3, sok-times, sok-radii (measured, beside the published cells), leaderboard, papers (all printed
    tables), or a single printed table such as sok2022_table4.
    """
    from .. import tables
    from ..tables.writers import FORMATS

    chosen = list(suites) or None
    if show:
        for name in names or tables.names():
            for table in tables.tables(name, results, chosen):
                click.echo(FORMATS["txt"](table) + "\n")
        return
    folder = out or results / "tables"
    written = tables.build(names, results, folder, chosen)
    click.echo(f"{len(written)} files in {folder}")
