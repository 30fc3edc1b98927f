"""Where pages are, relative to the top of the site."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from ..measured.cells import Cell
from ..measured.names import slug
from .boards import Board
from .ladders import Ladder


def board_path(board: Board) -> str:
    return f"rankings/{slug(board.suite)}.{board.setting.slug}.html"


def table_path(of: Board | Cell) -> str:
    return f"tables/{slug(of.suite)}.{of.setting.slug}.html"


def ladder_path(ladder: Ladder) -> str:
    return f"leaderboard/{ladder.slug}.html"


def method_path(method: str) -> str:
    return f"methods/{slug(method)}.html"


def run_path(suite: str, run: str) -> str:
    return f"runs/{slug(suite)}.{slug(run)}.html"


def query(**values: object) -> str:
    """A query string of what is not empty."""
    return "?" + urlencode({key: value for key, value in values.items() if value not in ("", None)}, quote_via=quote)


def inputs_path(cell: Cell) -> str:
    """The address of the inputs behind a cell."""
    return "inputs.html" + query(suite=cell.suite, dataset=cell.setting.dataset, model=cell.model, cell=cell.id)


def input_path(suite: str, dataset: str, model: str, question: str, index: int | None) -> str:
    """The address of one input with every method's answer to a question (see `Cell.question`)."""
    return "input.html" + query(suite=suite, dataset=dataset, model=model, setting=question, input=index)
