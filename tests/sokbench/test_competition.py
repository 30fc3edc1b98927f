"""Points by VNN-COMP's rules, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sokbench.competition import RULES, Standing, right_answers, standings
from sokbench.rows import Row


def row(method: str, index: int, verdict: str, seconds: float, **fields: Any) -> Row:
    defaults: dict[str, Any] = {"dataset": "cat", "expected": "", "prepare_seconds": 0.0, "stats": {}}
    defaults["key"] = f"{method} {index} {fields.get('dataset')}"
    return Row(
        run="r", suite="s", task="property", data_sha256="",
        index=index, label=0, model="m", model_sha256="", method=method, method_version="v", norm="", limit=60.0,
        memory=1, verdict=verdict, seconds=seconds, spec="p", **{**defaults, **fields},
    )  # fmt: skip


def of(found: list[Standing]) -> dict[str, tuple[int, float]]:
    return {one.contender: (sum(t.points for t in one.categories.values()), one.total) for one in found}


def test_time_bonus_of_2021():
    # overheads: a 1.0, b 0.5, c 2.0; on instance 1 after subtraction a 5.0, b 5.1 (a tie), c 7.0
    rows = [
        row("a", 0, "verified", 1.0), row("a", 1, "verified", 6.0),
        row("b", 0, "verified", 0.5), row("b", 1, "verified", 5.6),
        row("c", 0, "verified", 2.0), row("c", 1, "verified", 9.0), row("c", 2, "verified", 40.0),
    ]  # fmt: skip
    # instance 0: all count as 1 s; 1: a and b tie, so c is neither within 0.2 s of the first nor of the second
    assert of(standings(rows, RULES[2021])) == {
        "a": (24, pytest.approx(100 * 24 / 34)),
        "b": (24, pytest.approx(100 * 24 / 34)),
        "c": (34, 100.0),
    }
    assert {name: points for name, (points, _) in of(standings(rows, RULES[2026])).items()} == {
        "a": 20, "b": 20, "c": 30,
    }  # fmt: skip


def test_the_second_gets_one_point():
    rows = [row("a", 0, "verified", 1.0), row("a", 1, "verified", 6.0), row("b", 0, "verified", 1.0),
            row("b", 1, "verified", 9.0), row("c", 0, "verified", 1.0), row("c", 1, "verified", 20.0)]  # fmt: skip
    assert {name: points for name, (points, _) in of(standings(rows, RULES[2021])).items()} == {
        "a": 24, "b": 23, "c": 22,
    }  # fmt: skip


def test_loading_counts_as_time():
    rows = [row("a", 0, "verified", 1.0), row("a", 1, "verified", 2.0, prepare_seconds=30.0),
            row("b", 0, "verified", 1.0), row("b", 1, "verified", 4.0)]  # fmt: skip
    points = {name: points for name, (points, _) in of(standings(rows, RULES[2021])).items()}
    assert points == {"a": 23, "b": 24}


def test_a_counterexample_outweighs_a_majority():
    rows = [row(name, 0, "verified", 1.0) for name in "abc"] + [row("d", 0, "falsified", 50.0)]
    assert {name: points for name, (points, _) in of(standings(rows, RULES[2021])).items()} == {
        "a": -100, "b": -100, "c": -100, "d": 12,
    }  # fmt: skip
    assert of(standings(rows, RULES[2026]))["a"] == (-150, 0.0)
    assert standings(rows, RULES[2021])[0].contender == "d"


def test_a_known_counterexample_counts_though_nobody_found_it():
    wrong = row("a", 0, "verified", 1.0, expected="violated counterexample_rechecked")
    opinion = row("a", 0, "verified", 1.0, expected="violated tools_agree")
    assert right_answers([wrong]) == {"falsified"}
    assert right_answers([opinion]) == {"verified"}
    assert right_answers([row("a", 0, "unknown", 1.0)]) == frozenset()
    assert of(standings([wrong], RULES[2021])) == {"a": (-100, 0.0)}


def test_a_counterexample_that_needs_the_tolerance_makes_nobody_wrong():
    near = row("b", 0, "falsified", 1.0, stats={"witness": "correct_up_to_tolerance"})
    found = of(standings([row("a", 0, "verified", 9.0), near], RULES[2021]))
    assert {name: points for name, (points, _) in found.items()} == {"a": 12, "b": 12}


def test_an_easy_counterexample_is_worth_one_point_in_2021():
    easy = [row("a", 0, "falsified", 1.0, stats={"clean_margin": -1.0}), row("b", 0, "falsified", 2.0)]
    assert {name: points for name, (points, _) in of(standings(easy, RULES[2021])).items()} == {"a": 1, "b": 1}
    assert {name: points for name, (points, _) in of(standings(easy, RULES[2026])).items()} == {"a": 10, "b": 10}


def test_percentages_are_added_over_categories():
    rows = [
        row("a", 0, "verified", 1.0, dataset="one"), row("b", 0, "unknown", 1.0, dataset="one"),
        row("a", 0, "unknown", 1.0, dataset="two"), row("b", 0, "verified", 1.0, dataset="two"),
        row("b", 0, "unknown", 1.0, dataset="three"),
    ]  # fmt: skip
    found = {one.contender: one for one in standings(rows, RULES[2021])}
    assert found["a"].total == found["b"].total == 100.0
    assert found["b"].categories["three"].percent == 0.0
    assert found["b"].categories["two"].fastest == 1


def test_parameters_make_another_contender():
    rows = [row("a", 0, "verified", 1.0), row("a", 0, "unknown", 1.0, parameters={"x": 1}, key="other")]
    assert set(of(standings(rows, RULES[2021]))) == {"a", "a(x=1)"}
