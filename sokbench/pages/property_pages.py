"""Suites of VNN-COMP instances: a page per suite with points, virtual best and charts, and one per instance."""

from __future__ import annotations

from pathlib import Path

from ..competition import RULES
from ..decision import answer_of
from ..measured.status import status_of
from ..rows import Row
from .paths import run_path
from .property_boards import PropertyBoard, property_boards
from .property_charts import against, decided
from .render import Renderer
from .view import View

_PAIRS = 6


def write(renderer: Renderer, view: View) -> None:
    boards = property_boards(view.rows)
    renderer.page("properties/index.html", "property_index.html", section="properties/index.html", boards=boards)
    for board in boards:
        _write_board(renderer, view, board)


def _write_board(renderer: Renderer, view: View, board: PropertyBoard) -> None:
    first, *others = [entrant.contender for entrant in board.entrants]
    pairs = [(other, against(board, first, other, "../")) for other in others[:_PAIRS]]
    shared = {"section": "properties/index.html", "board": board, "answer": answer, "status_of": status_of}
    renderer.page(
        board.path,
        "property_board.html",
        cactus=decided(board),
        first=first,
        pairs=[pair for pair in pairs if pair[1]],
        years=sorted(RULES),
        stale=_stale(view, board),
        categories=[(name, name, count) for name, count in sorted(board.categories.items())],
        **shared,
    )
    for question in board.questions:
        renderer.page(
            question.path,
            "property.html",
            question=question,
            network=Path(question.network).name,
            spec=Path(question.spec).name,
            run_path=run_path,
            command=command,
            **shared,
        )


def answer(row: Row) -> str:
    """VNN-COMP's word for a row, or how it ended where it has none."""
    found = answer_of(row.verdict, row.termination)
    return row.termination if found == "error" or row.termination in ("unsupported", "skipped") else found


def command(row: Row) -> str:
    """What repeats the answer."""
    given = "".join(f" --set {name}={value}" for name, value in row.parameters.items())
    return f"sokbench verify {row.model} {row.spec} --method {row.method}{given} --limit {row.limit:g}"


def _stale(view: View, board: PropertyBoard) -> set[str]:
    """Methods of which some answers are of older code."""
    rows = [row for entrant in board.entrants for row in entrant.rows]
    return {row.method for row in rows if not row.method_version.startswith(view.today.get(row.method, ""))}
