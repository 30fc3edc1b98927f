from __future__ import annotations

from typing import Any

from sokbench.measured.cells import gather
from sokbench.pages.boards import boards
from sokbench.pages.ladders import ladders
from sokbench.published import Record
from tests.sokbench.made import rows


def record(certified: float, **fields: Any) -> Record:
    said: dict[str, Any] = {"dataset": "CIFAR-10", "norm": "linf", "eps": 8 / 255, "eps_text": "8/255"}
    said |= {"probabilistic": False, "title": f"Paper {certified}", "year": 2024}
    return Record(certified_accuracy=certified, **(said | fields))


def test_guarantees_are_ranked_apart():
    (ladder,) = ladders([record(30.0), record(40.0), record(60.0, probabilistic=True)], [])
    assert [place.rank for place in ladder.deterministic] == [1, 2]
    assert [(place.rank, place.record.certified_accuracy) for place in ladder.probabilistic] == [(1, 60.0)]
    assert ladder.text == "CIFAR-10, ℓ∞, 8/255"
    assert len({place.anchor for place in ladder.places}) == 3


def test_the_best_measured_method_of_a_model_joins_the_published_ones():
    measured = boards(gather([*rows("vvuu"), *rows("vvvu", method="ibp"), *rows("vvvv", method="pgd")]), set(), {})
    (ladder,) = ladders([record(30.0), record(90.0)], measured)
    places = [(place.rank, place.record.origin, place.record.certified_accuracy) for place in ladder.deterministic]
    assert places == [(1, "published", 90.0), (2, "measured", 75.0), (3, "published", 30.0)]
    assert ladder.deterministic[1].entry is not None
    assert ladder.deterministic[1].record.verification == "ibp"


def test_a_method_that_answered_a_part_of_the_inputs_makes_no_record():
    measured = boards(gather([*rows("vuuu"), *rows("vv", method="ibp")]), set(), {})
    (ladder,) = ladders([], measured)
    assert [place.record.verification for place in ladder.deterministic] == ["crown"]
