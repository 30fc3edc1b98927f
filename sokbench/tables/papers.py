"""The published tables as they are printed: every transcribed table, in its own layout.

The transcripts are long (one row per printed number); `layouts.toml` beside them names the fields of rows and columns.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..core.errors import InvalidInput, UnknownName
from ..published_cells import PUBLISHED
from .table import Cell, Column, Row, Table

FOLDER: Final = PUBLISHED / "paper_tables"


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields that tell rows and columns apart; group: the field that rows are grouped by; shown: fields that stand in a
    cell, joined."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    group: str = ""
    shown: tuple[str, ...] = ("value",)


def layouts(folder: Path = FOLDER) -> dict[str, Layout]:
    """The layouts by table name. Raises `InvalidInput` for a malformed file."""
    path = folder / "layouts.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), dict[str, Layout])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path.name}: {error}") from None


def tables(folder: Path = FOLDER) -> list[Table]:
    """Every transcribed table."""
    return [table(name, folder) for name in layouts(folder)]


def table(name: str, folder: Path = FOLDER) -> Table:
    """One transcribed table, such as "sok2022_table3". Raises `UnknownName`, and `InvalidInput` where two printed
    numbers fall into one cell."""
    known = layouts(folder)
    if name not in known:
        raise UnknownName("paper table", name, known)
    layout = known[name]
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    cells: dict[tuple[tuple[str, ...], tuple[str, ...]], Cell] = {}
    group_of: dict[tuple[str, ...], str] = {}
    for record in records:
        group_of[_fields(record, layout.rows)] = record.get(layout.group, "")
        place = _fields(record, layout.rows), _fields(record, layout.columns)
        if place in cells:
            raise InvalidInput(f"{name}: two numbers for {place}; name another field in layouts.toml")
        cells[place] = _cell(record, layout)
    down = list(dict.fromkeys(row for row, _ in cells))
    across = list(dict.fromkeys(column for _, column in cells))
    heads = [Column(_title(field), numeric=False) for field in layout.rows]
    heads += [Column(_title(parts[-1]), " ".join(map(_title, parts[:-1]))) for parts in across]
    rows = []
    for row in down:
        entries = (cells.get((row, column), Cell()) for column in across)
        rows.append(Row((*map(Cell, row), *entries), group_of[row]))
    return Table(name, layout.title, tuple(heads), tuple(rows), _notes(records))


def _fields(record: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(record[name] for name in names)


def _cell(record: Mapping[str, str], layout: Layout) -> Cell:
    text = " ".join(filter(None, _fields(record, layout.shown)))
    number = record["value"] if re.fullmatch(r"-?\d+(\.\d+)?", record["value"]) else None
    doubt = record["note"] if record["note"].startswith("uncertain") else ""
    return Cell(text, float(number) if number else None, marks="?" if doubt else "", note=record["note"])


def _notes(records: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    units = sorted({record["unit"] for record in records if record["unit"]})
    doubtful = any(record["note"].startswith("uncertain") for record in records)
    said = [f"Units: {', '.join(units)}."] if units else []
    return (*said, *(["? marks cells whose transcription or reading is in doubt."] if doubtful else []))


def _title(text: str) -> str:
    return text.replace("_", " ")
