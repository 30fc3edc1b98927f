"""CSV for programs: one column per table column, then, where any cell has them, its interval, published value and
note. Numbers are not rounded as in print."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from ..table import Cell, Table


def write(table: Table) -> str:
    parts = _parts(table)
    grouped = any(row.group for row in table.rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = [f"{title}{suffix}" for title, found in zip(_titles(table), parts, strict=True) for suffix, _ in found]
    writer.writerow([*(["group"] if grouped else []), *head])
    for row in table.rows:
        texts = [get(cell) for cell, found in zip(row.cells, parts, strict=True) for _, get in found]
        writer.writerow([*([row.group] if grouped else []), *texts])
    return stream.getvalue()


def _titles(table: Table) -> list[str]:
    return [" ".join(filter(None, (column.group, column.title))) for column in table.columns]


_Part = tuple[str, Callable[[Cell], str]]
_EXTRAS: tuple[_Part, ...] = (
    (" low", lambda cell: _number(cell.low)),
    (" high", lambda cell: _number(cell.high)),
    (" published", lambda cell: cell.published),
    (" note", lambda cell: cell.note),
)


def _parts(table: Table) -> list[list[_Part]]:
    """For every column what is written of its cells."""
    found: list[list[_Part]] = []
    for position in range(len(table.columns)):
        cells = [row.cells[position] for row in table.rows]
        found.append([("", _main), *(part for part in _EXTRAS if any(part[1](cell) for cell in cells))])
    return found


def _main(cell: Cell) -> str:
    return cell.text if cell.value is None else _number(cell.value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
