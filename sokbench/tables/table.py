"""A table, before it is written: titled columns, grouped rows, and cells that know their number and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """text: what is printed; value: the number behind it, for CSV and for sorting.

    low, high: 95% interval in the unit of `value`; published: the number printed by a paper for the same setting;
    marks: what else happened, in short ("t12": 12 timeouts); note: the same in words.
    """

    text: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    published: str = ""
    marks: str = ""
    note: str = ""

    @property
    def interval(self) -> str:
        """The interval in whole units, such as "[19, 37]"; empty without one."""
        return "" if self.low is None or self.high is None else f"[{self.low:.0f}, {self.high:.0f}]"


@dataclass(frozen=True)
class Column:
    """group: a title above several neighbouring columns; numeric: set flush right."""

    title: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """group: rows of one group stand together under its title."""

    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """name: of the files it is written to; notes: sentences below the table."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.name}: a row has {len(row.cells)} cells for {len(self.columns)} columns")

    def column_groups(self) -> list[tuple[str, int]]:
        """Titles above the columns with how many they span, in order; one span of no title where there is none."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans

    def row_groups(self) -> list[tuple[str, list[Row]]]:
        """Rows by group, neighbours together, in order."""
        groups: list[tuple[str, list[Row]]] = []
        for row in self.rows:
            if not groups or groups[-1][0] != row.group:
                groups.append((row.group, []))
            groups[-1][1].append(row)
        return groups


def plain(cell: Cell) -> str:
    """A cell in plain text: "27 [19, 37] t12 (25)"."""
    published = f"({cell.published})" if cell.published else ""
    return " ".join(part for part in (cell.text, cell.interval, cell.marks, published) if part)
