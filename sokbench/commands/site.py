"""`sokbench site`: the static pages."""

from __future__ import annotations

import time
from pathlib import Path

import click

from .options import examples, results_option


@click.command("site")
@click.option("--suite", "suites", multiple=True, help="Only this suite; may be repeated. [default: all recorded]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("site/public"),
    show_default=True,
    help="Where to build.",
)
@results_option
@examples("sokbench site", "sokbench site --suite quick --out public")
def command(suites: tuple[str, ...], out: Path, results: Path) -> None:
    """Build the static pages; open the index.html it names in a browser, no server needed."""
    from .. import pages

    started = time.monotonic()
    index = pages.build(results, out, list(suites) or None, lambda message: click.echo(message, err=True))
    click.echo(f"built in {time.monotonic() - started:.1f} s: open {index}")
