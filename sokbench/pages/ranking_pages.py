"""One page per measured setting: charts, best method within a budget, the whole ranking; and one per radius board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..scores import Share
from .boards import BUDGETS, Board, Entry, ModelFacts
from .charts import cactus, radius_curves, time_accuracy, tradeoff
from .paths import board_path, inputs_path, table_path
from .radii import radius_boards
from .render import Renderer
from .view import View


@dataclass(frozen=True)
class Budget:
    """The methods that verify most within a time per input, and how many; none where nothing is verified."""

    seconds: float
    best: list[Entry]
    share: Share | None


@dataclass(frozen=True)
class ModelPicture:
    facts: ModelFacts
    chart: Markup
    budgets: list[Budget]


def pictures(board: Board, root: str, models: Sequence[ModelFacts]) -> list[ModelPicture]:
    """What rankings show of each model."""
    found = []
    for facts in models:
        links = {id(entry): root + inputs_path(entry.cell) for entry in board.of_model(facts.model)}
        budgets = [Budget(seconds, *(board.best_within(facts.model, seconds) or ([], None))) for seconds in BUDGETS]
        found.append(ModelPicture(facts, time_accuracy(board, facts, links), budgets))
    return found


def facet_options(board: Board) -> dict[str, list[tuple[str, str, int]]]:
    """(value, text, count) of every facet of a ranking, in order of appearance or size."""

    def counted(values: list[str]) -> list[tuple[str, str, int]]:
        return [(value, value, count) for value, count in sorted(Counter(values).items()) if value]

    return {
        "family": counted([entry.family for entry in board.contenders]),
        "model": counted([entry.cell.model for entry in board.contenders]),
        "training": counted([facts.training for facts in board.models]),
        "architecture": counted([facts.architecture for facts in board.models]),
    }


def write(renderer: Renderer, view: View) -> None:
    for board in view.boards:
        renderer.page(
            board_path(board),
            "ranking.html",
            board=board,
            pictures=pictures(board, "../", board.models),
            entries=board.contenders,
            facets=facet_options(board),
            table_path=table_path(board),
            cactus=cactus(board),
        )
    for radius_board in radius_boards(view.cells):
        renderer.page(
            radius_board.path,
            "radius_board.html",
            board=radius_board,
            chart=radius_curves(radius_board),
            tradeoff=tradeoff(radius_board) if radius_board.probabilistic else "",
        )
