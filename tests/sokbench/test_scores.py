"""Scores against values computed by hand (or by exact formulas, said where)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sokbench import scores
from sokbench.scores import Share, wilson

from .made import row, rows


def test_wilson_by_hand() -> None:
    # Newcombe 1998, Table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for (k, n), expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(k, n) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 300), st.data())
def test_wilson_contains_the_share_and_is_symmetric(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_no_inputs_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert Share(0, 0).value == 0.0
    assert scores.par2([]) is None
    assert scores.times([]) == scores.Times(None, None, 0)
    assert scores.average_certified_radius([]).over_correct is None


def test_everything_stays_in_the_denominator() -> None:
    assert scores.certified_accuracy(rows("vvfwutmcns")) == Share(2, 10)


def test_radius_answers_count_at_a_radius() -> None:
    answers = [row(index=i, task="radius", certified_radius=r) for i, r in enumerate((0.0, 0.1, 0.2, None))]
    assert scores.certified_accuracy(answers, 0.1) == Share(2, 4)  # the ball of 0.1 was verified itself
    assert scores.certified_accuracy(answers, 0.0) == Share(2, 4)
    certificates = [
        row(index=0, task="certify", prediction=3, certified_radius=0.5),
        row(index=1, task="certify", prediction=3, certified_radius=0.6),
        row(index=2, task="certify", prediction=4, certified_radius=2.0),
        row(index=3, task="certify", prediction=-1, certified_radius=0.0),
    ]
    assert scores.certified_accuracy(certificates, 0.5) == Share(1, 4)  # an open ball does not reach its radius
    assert [share.k for _, share in scores.radius_curve(certificates, [0.0, 0.5, 0.6])] == [2, 1, 0]


def test_bounds_and_gap() -> None:
    crown, pgd = rows("vvuuw"), rows("uufuw", method="pgd")
    found = scores.bounds([*crown, *pgd], attacks={"pgd"})
    assert found.clean == Share(4, 5)
    assert found.attacked == Share(3, 5)
    assert found.gap(scores.certified_accuracy(crown)) == pytest.approx(1 / 5)


def test_no_bound_without_an_attack_on_every_input() -> None:
    found = scores.bounds([*rows("vvuuw"), *rows("uuf--", method="pgd")], attacks={"pgd"})
    assert found.attacked is None
    assert found.gap(Share(1, 5)) is None
    assert scores.bounds(rows("ttt"), attacks=()).clean is None  # nobody looked


def test_average_certified_radius_has_two_denominators() -> None:
    answers = [
        row(index=0, task="radius", certified_radius=0.3),
        row(index=1, task="radius", certified_radius=0.1),
        row(index=2, task="radius", certified_radius=0.0),
        row(index=3, task="radius", certified_radius=0.0, stats={"refuted": 0.0}),
    ]
    found = scores.average_certified_radius(answers)
    assert (found.n, found.correct) == (4, 3)
    assert found.over_all == pytest.approx(0.1)
    assert found.over_correct == pytest.approx(0.4 / 3)
    wrong = [
        row(task="certify", prediction=5, certified_radius=9.0),
        row(task="certify", prediction=3, certified_radius=1.0),
    ]
    assert scores.average_certified_radius(wrong).over_all == 0.5


def test_times_by_hand() -> None:
    tried = [row(seconds=s) for s in (1.0, 2.0, 6.0)] + rows("t") + rows("sn")
    assert scores.times(tried) == scores.Times((1 + 2 + 6 + 60) / 4, 4.0, 4)
    assert scores.par2([*rows("vf", seconds=2.0), *rows("u"), *rows("t")]) == (2 + 2 + 120 + 120) / 4
    assert scores.cactus([*rows("vv", seconds=3.0), *rows("f", seconds=1.0), *rows("tu")]) == [1.0, 3.0, 3.0]
    assert scores.cactus(rows("vf"), scores.certified) == [1.0]


def test_virtual_best_by_hand() -> None:
    found = scores.virtual_best(
        [
            *(row(index=i, method="a", seconds=s) for i, s in enumerate((1.0, 5.0))),
            *rows("--u", method="a"),
            *(row(index=i, method="b", seconds=s) for i, s in enumerate((2.0, 3.0, 4.0))),
            *rows("----t", method="b"),
            *rows("--t", method="c"),
        ]
    )
    assert (found.instances, found.solved) == (4, 3)
    assert found.par2 == (1 + 3 + 4 + 120) / 4
    a, b, c = (found.contributions[name] for name in "abc")
    assert (a.solved, a.fastest, a.unique, a.par2_without) == (2, 1, 0, (2 + 3 + 4 + 120) / 4)
    assert (b.solved, b.fastest, b.unique, b.par2_without) == (3, 2, 1, (1 + 5 + 120 + 120) / 4)
    assert (c.solved, c.fastest, c.unique, c.par2_without) == (0, 0, 0, found.par2)


def test_parameters_and_noise_make_other_contenders() -> None:
    assert scores.contender(row()) == "crown"
    assert scores.contender(row(parameters={"b": 1, "a": 2})) == "crown(a=2, b=1)"
    assert scores.contender(row(noise={"kind": "gaussian", "sigma": 0.5})) == "crown(kind=gaussian, sigma=0.5)"


@given(st.integers(0, 30), st.integers(0, 30))
def test_sign_test_is_the_binomial_tail(a: int, b: int) -> None:
    expected = binomtest(a, a + b).pvalue if a + b else 1.0
    assert math.isclose(scores.sign_test(a, b), expected, rel_tol=1e-9)


def test_sign_test_of_many_inputs() -> None:
    assert scores.sign_test(3000, 3000) == pytest.approx(1.0)
    assert scores.sign_test(0, 2000) < 1e-300 or scores.sign_test(0, 2000) == 0.0
