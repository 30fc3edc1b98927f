"""The leaderboard: one page per setting with published and measured records, and the list of settings."""

from __future__ import annotations

from .charts import trend
from .ladders import Ladder
from .overview import leaders
from .paths import ladder_path
from .render import Renderer
from .view import View

_ACCURACIES = (("clean_accuracy", "Clean"), ("attack_accuracy", "Attack"))


def write(renderer: Renderer, view: View) -> None:
    renderer.page(
        "leaderboard/index.html",
        "leaderboard_index.html",
        section="leaderboard/index.html",
        ladders=[(ladder, ladder_path(ladder), leaders(ladder)) for ladder in view.ladders],
    )
    for ladder in view.ladders:
        anchors = {id(place.record): f"#{place.anchor}" for place in ladder.places}
        records = [place.record for place in ladder.places]
        renderer.page(
            ladder_path(ladder),
            "leaderboard.html",
            section="leaderboard/index.html",
            ladder=ladder,
            chart=trend(records, f"Certified accuracy over the years: {ladder.text}", anchors),
            facets=_facets(ladder),
            accuracies=[
                pair for pair in _ACCURACIES if any(getattr(record, pair[0]) is not None for record in records)
            ],
        )


def _facets(ladder: Ladder) -> dict[str, list[tuple[str, str, int]]]:
    records = [place.record for place in ladder.places]
    probabilistic = sum(record.probabilistic for record in records)
    measured = sum(record.origin == "measured" for record in records)
    unconfirmed = sum(record.certainty != "high" for record in records)
    total = len(records)

    def pair(first: str, second: str, of_second: int) -> list[tuple[str, str, int]]:
        both = [(first, first, total - of_second), (second, second, of_second)]
        return [option for option in both if option[2]]

    return {
        "guarantee": pair("deterministic", "probabilistic", probabilistic),
        "origin": pair("published", "measured", measured),
        "certainty": pair("confirmed", "unconfirmed", unconfirmed),
    }
