from __future__ import annotations

import pytest

from sokbench.measured.cells import gather
from sokbench.pages.boards import Board, boards
from sokbench.pages.charts import pareto
from sokbench.rows import Row
from tests.sokbench.made import rows


def board(*found: list[Row], conflicts: set[tuple[str, str]] | None = None) -> Board:
    (made,) = boards(gather([row for group in found for row in group]), conflicts or set(), {"crown": "v", "ibp": "v"})
    return made


def test_ranks_follow_certified_accuracy_and_ties_share_them():
    made = board(rows("vvvu"), rows("vuuu", method="ibp"), rows("vvvu", method="milp"), rows("uuuu", method="fastlin"))
    assert [(entry.cell.contender.method, entry.rank) for entry in made.entries] == [
        ("crown", 1),
        ("milp", 1),
        ("ibp", 3),
        ("fastlin", 4),
    ]


def test_attacks_unsupported_and_contradicted_methods_are_not_ranked():
    made = board(
        rows("vvu"), rows("vvv", method="ibp"), rows("fuu", method="pgd"), rows("nnn", method="milp"),
        conflicts={("s", "ibp")},
    )  # fmt: skip
    ranks = {entry.cell.contender.method: entry.rank for entry in made.entries}
    assert ranks == {"crown": 1, "ibp": None, "pgd": None, "milp": None}
    assert [entry.conflict for entry in made.entries if entry.cell.contender.method == "ibp"] == [True]
    assert {entry.cell.contender.method for entry in made.contenders} == {"crown", "ibp", "milp"}


def test_bold_needs_intervals_that_do_not_overlap():
    def best(made: Board) -> set[str]:
        return {entry.cell.contender.method for entry in made.entries if entry.best}

    assert best(board(rows("v" * 60 + "u" * 40), rows("v" * 20 + "u" * 80, method="ibp"))) == {"crown"}
    assert best(board(rows("vvvu"), rows("vvuu", method="ibp"))) == set()


def test_clean_and_attack_accuracy_come_from_all_methods():
    made = board(rows("wuvv"), rows("wfuu", method="pgd"))
    (facts,) = made.models
    assert facts.clean is not None
    assert facts.attacked is not None
    assert (facts.clean.k, facts.attacked.k, facts.attacked.n) == (3, 2, 4)
    assert made.ranked[0].gap == pytest.approx(0.0)


def test_entries_say_what_is_partial_and_stale():
    made = board(rows("vvvv"), rows("vv", method="ibp", method_version="old"))
    marks = {entry.cell.contender.method: (entry.partial, entry.stale) for entry in made.entries}
    assert marks == {"crown": (False, False), "ibp": (True, True)}


def test_budgets_choose_the_largest_share_of_all_inputs_then_speed():
    fast, slow = rows("vvuu", method="ibp", seconds=0.1), rows("vvvu", seconds=5.0)
    made = board(fast, slow, rows("vv", method="milp", seconds=30.0), rows("vvvv", method="lp_full", seconds=40.0))
    winners = []
    for budget in (0.01, 1.0, 10.0, 60.0):
        found = made.best_within("cifar10/cnn_a/adv8", budget)
        winners.append(None if found is None else ([e.cell.contender.method for e in found[0]], found[1].k, found[1].n))
    assert winners == [None, (["ibp"], 2, 4), (["crown"], 3, 4), (["lp_full"], 4, 4)]


def test_the_pareto_front_is_what_no_faster_entry_matches():
    made = board(
        rows("vuuu", method="ibp", seconds=0.1), rows("vvuu", seconds=1.0), rows("vvuu", method="fastlin", seconds=2.0),
        rows("vvvu", method="milp", seconds=9.0), rows("uuuu", method="op_norm", seconds=0.01),
    )  # fmt: skip
    assert [entry.cell.contender.method for entry in pareto(made.ranked)] == ["ibp", "crown", "milp"]


def test_a_share_of_fewer_inputs_is_shown_and_not_ranked():
    made = board(rows("vvuu", method="ibp"), rows("vv", method="milp"))
    partial = next(entry for entry in made.entries if entry.cell.contender.method == "milp")
    assert (partial.partial, partial.rank, partial.best, partial.gap) == (True, None, False, None)
    assert [entry.cell.contender.method for entry in made.ranked] == ["ibp"]
