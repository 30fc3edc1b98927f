"""`sokbench list`: methods, models, data sets and suites."""

from __future__ import annotations

from typing import Any

import click

from .inventory import KINDS, name_of
from .options import examples, json_option, print_json

# the columns a person sees; JSON has everything
_COLUMNS = {
    "verifier": ("slug", "title", "family", "norms", "complete"),
    "certifier": ("slug", "title", "family", "norms"),
    "attack": ("slug", "title", "norms"),
    "model": ("name", "architecture", "training", "clean_accuracy", "parameters"),
    "dataset": ("name", "classes", "input_shape", "available"),
    "suite": ("name", "title"),
}


@click.command("list")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind.")
@json_option
@examples("sokbench list", "sokbench list --kind verifier", "sokbench list --kind model --json")
def command(kind: str | None, as_json: bool) -> None:
    """List what can be named: verifiers, certifiers, attacks, models, data sets, suites."""
    kinds = [kind] if kind else list(KINDS)
    if as_json:
        print_json([{"kind": each, **item} for each in kinds for item in KINDS[each]()])
        return
    from rich.console import Console

    console = Console()
    for each in kinds:
        console.print(_table(each, KINDS[each]()))


def _table(kind: str, items: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    columns = [column for column in _COLUMNS[kind] if any(column in item for item in items)]
    table = Table(title=f"{kind}s ({len(items)})", title_justify="left", box=None, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "))
    for item in sorted(items, key=name_of):
        table.add_row(*(_text(item.get(column)) for column in columns))
    return table


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(str(part) for part in value)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
