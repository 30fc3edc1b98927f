"""The overview: which verifier fits one's network and time, the ranking, and what else there is."""

from __future__ import annotations

from collections.abc import Sequence

from .boards import Board
from .ladders import Ladder, Place
from .paths import board_path, ladder_path, table_path
from .radii import radius_boards
from .ranking_pages import facet_options, pictures
from .render import Renderer
from .view import View

SHOWN_ENTRIES = 25
SHOWN_MODELS = 6


def write(renderer: Renderer, view: View) -> None:
    board = prominent(view.boards)
    renderer.page(
        "index.html",
        "overview.html",
        section="index.html",
        board=board,
        pictures=[] if board is None else pictures(board, "", board.models[:SHOWN_MODELS]),
        entries=[] if board is None else board.contenders[:SHOWN_ENTRIES],
        boards=[(other, board_path(other), table_path(other)) for other in view.boards],
        board_path=board_path,
        facets={} if board is None else facet_options(board),
        radius_boards=radius_boards(view.cells),
        ladders=[(ladder, ladder_path(ladder), leaders(ladder)) for ladder in view.ladders],
        counts=_counts(view),
    )


def prominent(boards: Sequence[Board]) -> Board | None:
    """The board with most to say: most entries, then most inputs, then the larger radius."""

    def weight(board: Board) -> tuple[int, int, float]:
        inputs = sum(len(entry.cell.rows) for entry in board.entries)
        return len(board.ranked), inputs, board.setting.radius or 0.0

    return max(boards, key=weight, default=None)


def leaders(ladder: Ladder) -> list[Place]:
    """The first of each guarantee."""
    return [*ladder.deterministic[:1], *ladder.probabilistic[:1]]


def _counts(view: View) -> dict[str, int]:
    return {
        "rows": sum(len(cell.rows) for cell in view.cells),
        "methods": len({cell.contender.method for cell in view.cells}),
        "models": len({cell.model for cell in view.cells}),
        "records": len(view.records),
    }
