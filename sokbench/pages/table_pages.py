"""Tables in the layout of the SoK's Table III: methods by family down, models across, certified accuracy inside."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ..measured.cells import Cell, Contender, family_of, kind_of
from ..scores import Share
from ..tables.grid import published_text
from .boards import Board, Entry, method_order
from .paths import board_path, table_path
from .plain_tables import measured, plain_path, printed
from .render import Renderer
from .view import View


@dataclass(frozen=True)
class GridRow:
    """One contender across the models of a board; None where it was not run."""

    contender: Contender
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True)
class GridGroup:
    family: str
    rows: tuple[GridRow, ...]


def grid(board: Board) -> list[GridGroup]:
    """Rows by family in the order of the taxonomy, attacks first as upper bounds."""
    by_place = {(entry.cell.contender, entry.cell.model): entry for entry in board.entries}
    contenders = sorted({contender for contender, _ in by_place}, key=lambda c: (*method_order(c.method), c))
    grouped: dict[str, list[GridRow]] = defaultdict(list)
    for contender in contenders:
        entries = tuple(by_place.get((contender, facts.model)) for facts in board.models)
        grouped[family_of(contender.method)].append(GridRow(contender, entries))
    return [GridGroup(family, tuple(rows)) for family, rows in grouped.items()]


def write(renderer: Renderer, view: View) -> None:
    boards = [(board, table_path(board), board_path(board)) for board in view.boards]
    renderer.page(
        "tables/index.html",
        "table_index.html",
        section="tables/index.html",
        boards=boards,
        measured=[(table, plain_path(table)) for table in measured(view)],
        printed=[(table, plain_path(table)) for table in printed()],
    )
    for board in view.boards:
        groups = grid(board)
        renderer.page(
            table_path(board),
            "table.html",
            section="tables/index.html",
            board=board,
            groups=groups,
            facets={
                "family": [(group.family, group.family, len(group.rows)) for group in groups],
                "training": _column_facet([facts.training for facts in board.models]),
                "architecture": _column_facet([facts.architecture for facts in board.models]),
            },
            is_attack=lambda contender: kind_of(contender.method) == "attack",
            left_unbroken=left_unbroken,
            published=published_text,
            ranking_path=board_path(board),
        )


def left_unbroken(cell: Cell) -> Share:
    """What an attack leaves: the inputs it found no counterexample for."""
    return Share(len(cell.rows) - cell.counts.get("falsified", 0), len(cell.rows))


def _column_facet(values: list[str]) -> list[tuple[str, str, int]]:
    return [(value, value, values.count(value)) for value in sorted(set(values)) if value]
