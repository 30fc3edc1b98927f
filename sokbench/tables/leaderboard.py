"""The leaderboard as tables (the SoK's Table II, ranks computed): one per setting, published and measured records."""

from __future__ import annotations

from pathlib import Path

from ..leaderboard import FOLDER, Board, Ranked, boards
from .table import Cell, Column, Row, Table

_COLUMNS = (
    Column("Rank"),
    Column("Certified %"),
    Column("Clean %"),
    Column("Approach", numeric=False),
    Column("Paper", numeric=False),
    Column("Venue", numeric=False),
    Column("Year"),
    Column("Guarantee", numeric=False),
    Column("Origin", numeric=False),
)
_NOTES = (
    "Equal certified accuracies share a rank. Unconfirmed: read off a figure, quoted by a third party, printed "
    "differently elsewhere, or disputed; the record says which. Measured: by this project, from recorded runs.",
)


def tables(folder: Path = FOLDER) -> list[Table]:
    """One table per setting. Raises `InvalidInput` as `leaderboard.load` does."""
    return [_table(board) for board in boards(folder)]


def _table(board: Board) -> Table:
    title = f"Leaderboard: {board.setting.title}"
    return Table(f"leaderboard.{board.setting.slug}", title, _COLUMNS, tuple(map(_row, board.entries)), _NOTES)


def _row(entry: Ranked) -> Row:
    record = entry.record
    clean = record.clean_accuracy
    return Row(
        (
            Cell(f"{entry.rank}{'=' if entry.tied else ''}", entry.rank),
            Cell(f"{record.certified_accuracy:.2f}", record.certified_accuracy),
            Cell("" if clean is None else f"{clean:.2f}", clean),
            Cell(record.method or record.verification),
            Cell(record.title),
            Cell(record.venue),
            Cell("" if record.year is None else str(record.year)),
            Cell("probabilistic" if record.probabilistic else "deterministic"),
            Cell(record.origin if record.certainty == "high" else "unconfirmed", note=record.notes),
        )
    )
