"""VNN-COMP points, by hand under the rules of each year."""

from __future__ import annotations

from typing import Any

import pytest

from sokbench.core.errors import UnknownName
from sokbench.points import points
from sokbench.rows import Array, Row

from .made import row

WITNESS = Array("float32", (1,), "")


def verified(method: str, index: int = 0, seconds: float = 5.0, **fields: Any) -> Row:
    return row(method=method, index=index, seconds=seconds, **fields)


def falsified(method: str, index: int = 0, seconds: float = 5.0, witness: Array | None = WITNESS) -> Row:
    return row(method=method, index=index, seconds=seconds, verdict="falsified", witness=witness)


def raw(rows: list[Row], rules: str) -> dict[str, float]:
    return {name: sum(found.raw.values()) for name, found in points(rows, rules, lambda r: r.model).items()}


def test_2021_bonus_floor_and_ties() -> None:
    # 0.1 s and 0.9 s both count as 1 s: they share the first place; 1.3 s is second, 2 s gets no bonus
    answers = [verified(m, seconds=s) for m, s in zip("abcd", (0.1, 0.9, 1.3, 2.0), strict=True)]
    assert raw(answers, "vnncomp2021") == {"a": 12, "b": 12, "c": 10, "d": 10}
    answers = [verified(m, seconds=s) for m, s in zip("abcd", (1.0, 3.0, 3.1, 9.0), strict=True)]
    assert raw(answers, "vnncomp2021") == {"a": 12, "b": 11, "c": 11, "d": 10}


def test_2021_alone_is_fastest_and_nothing_for_no_answer() -> None:
    assert raw([verified("a"), row(method="b", verdict="unknown")], "vnncomp2021") == {"a": 12, "b": 0}


def test_2021_votes() -> None:
    two_to_one = [verified("a"), verified("b", seconds=9.0), falsified("c")]
    assert raw(two_to_one, "vnncomp2021") == {"a": 12, "b": 11, "c": -100}
    tie = [verified("a"), falsified("c")]
    assert raw(tie, "vnncomp2021") == {"a": 0, "c": 0}


def test_2021_easy_counterexamples_give_one_point() -> None:
    wrong = {"verdict": "falsified", "stats": {"clean_margin": -1.0}}
    easy = [row(method="a", **wrong), row(method="b", seconds=9.0, **wrong)]
    assert raw(easy, "vnncomp2021") == {"a": 1, "b": 1}


def test_2026_witness_decides() -> None:
    answers = [verified("a"), verified("b"), falsified("c"), falsified("d", witness=None)]
    assert raw(answers, "vnncomp2026") == {"a": -150, "b": -150, "c": 10, "d": -150}
    assert raw([verified("a", seconds=0.1), verified("b", seconds=50.0)], "vnncomp2026") == {"a": 10, "b": 10}
    assert raw([row(verdict="falsified", stats={"clean_margin": -1.0})], "vnncomp2026") == {"crown": 10}


@pytest.mark.parametrize("rules", ["vnncomp2021", "vnncomp2026"])
def test_an_answer_after_the_limit_is_none(rules: str) -> None:
    assert raw([verified("a", seconds=60.1)], rules) == {"a": 0}


def test_categories_are_scaled_by_their_best_and_added() -> None:
    rows = [
        *(verified("a", i, model="x") for i in range(4)),
        *(verified("b", i, model="x") for i in range(1)),
        *(verified("b", i, model="y") for i in range(2)),
        verified("a", 0, model="y"),
        row(method="c", verdict="unknown", model="y"),
    ]
    found = points(rows, "vnncomp2026", lambda r: r.model)
    assert {name: score.total for name, score in found.items()} == {"a": 150.0, "b": 125.0, "c": 0.0}
    assert found["a"].raw == {"x": 40.0, "y": 10.0}


def test_negative_categories_count_as_zero() -> None:
    rows = [verified("a"), falsified("b"), verified("a", 1, model="y")]
    found = points(rows, "vnncomp2026", lambda r: r.model)
    assert found["a"].total == 100.0
    assert found["a"].wrong == 1


def test_unknown_rules() -> None:
    with pytest.raises(UnknownName, match="did you mean vnncomp202"):
        points([], "vnncomp2022", lambda r: r.model)
