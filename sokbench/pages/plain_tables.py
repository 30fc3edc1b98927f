"""Tables that `sokbench.tables` makes, as pages: times and radii as measured, and the papers' tables as printed."""

from __future__ import annotations

from pathlib import Path

from .. import tables
from ..measured.names import slug
from ..tables import sok_radii, sok_table4, sok_times
from ..tables.table import Table
from .render import Renderer
from .view import View


def plain_path(table: Table) -> str:
    return f"tables/{slug(table.name)}.html"


def measured(view: View) -> list[Table]:
    return [*sok_times.tables(view.cells), *sok_table4.tables(view.cells), *sok_radii.tables(view.cells)]


def printed() -> list[Table]:
    """The papers' tables; their numbers are part of the checkout, whatever the results folder is."""
    return tables.tables("papers", Path())


def write(renderer: Renderer, view: View) -> None:
    for origin, found in (("measured", measured(view)), ("published", printed())):
        for table in found:
            renderer.page(
                plain_path(table), "plain_table.html", section="tables/index.html", table=table, origin=origin
            )
