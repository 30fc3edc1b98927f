"""Reading and writing VNN-LIB: the meaning of texts, exact rounding, what is refused and how."""

from __future__ import annotations

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.property import Case, Conjunction, Property, float32_inside, rounded_down, rounded_up
from sokbench.core.vnnlib import parse_property, read_property
from sokbench.core.vnnlib_text import read_counterexample, write_counterexample, write_property

HEAD = """
; two inputs, three outputs
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-const Y_2 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1.5))
(assert (>= X_1 0.25)) (assert (<= X_1 0.5)) ; the last bound
"""


def rows_of(text: str) -> list[list[tuple[list[float], float]]]:
    (case,) = parse_property(HEAD + text).cases
    return [list(zip(c.weight.tolist(), c.bound.tolist(), strict=True)) for c in case.unsafe]


def test_a_box_and_a_conjunction():
    asked = parse_property(HEAD + "(assert (<= Y_0 Y_1))\n(assert (>= Y_2 3.5))")
    (case,) = asked.cases
    assert (asked.inputs, asked.outputs) == (2, 3)
    assert case.lower.tolist() == [-1, 0.25]
    assert case.upper.tolist() == [1.5, 0.5]
    (unsafe,) = case.unsafe
    assert unsafe.weight.tolist() == [[1, -1, 0], [0, 0, -1]]
    assert unsafe.bound.tolist() == [0, -3.5]


def test_a_disjunction_keeps_its_order():
    assert rows_of("(assert (or (and (>= Y_0 Y_2)) (and (>= Y_1 Y_2))))") == [[([-1, 0, 1], 0)], [([0, -1, 1], 0)]]


@pytest.mark.parametrize(
    ("atom", "weight", "bound"),
    [
        ("(<= (+ Y_0 (* 2.0 Y_1)) 3)", [1, 2, 0], 3),
        ("(<= (- Y_0 Y_1 1) Y_2)", [1, -1, -1], 1),
        ("(>= (* Y_1 2 -1) (+ 1 1))", [0, 2, 0], -2),
        ("(<= (- Y_2) -4)", [0, 0, -1], -4),
        ("(<= 1 Y_0)", [-1, 0, 0], -1),
        ("(<= (+ Y_0 Y_1) (+ Y_1 1))", [1, 0, 0], 1),
    ],
)
def test_linear_terms(atom: str, weight: list[float], bound: float):
    assert rows_of(f"(assert {atom})") == [[(weight, bound)]]


def test_alternatives_multiply_out():
    text = "(assert (or (<= Y_0 0) (<= Y_1 0)))\n(assert (or (<= Y_2 1) (<= Y_2 2)))"
    assert [[bound for _, bound in conjunction] for conjunction in rows_of(text)] == [[0, 1], [0, 2], [0, 1], [0, 2]]


def test_boxes_in_alternatives_become_cases_and_meet_the_outer_box():
    asked = parse_property(
        HEAD
        + "(assert (or (and (<= X_0 0) (<= Y_0 1)) (and (>= X_0 1) (<= Y_0 2)) (and (<= X_0 0) (<= Y_0 3))"
        + "(and (<= X_0 -2) (<= Y_0 9))))"
    )
    assert [(case.lower[0], case.upper[0]) for case in asked.cases] == [(-1, 0), (1, 1.5)]
    assert [[c.bound[0] for c in case.unsafe] for case in asked.cases] == [[1, 3], [2]]


def test_an_equation_fixes_an_input():
    asked = parse_property(HEAD + "(assert (= X_0 0.5))\n(assert (= Y_0 1))")
    (case,) = asked.cases
    assert case.lower[0] == case.upper[0] == 0.5
    assert case.unsafe[0].bound.tolist() == [1, -1]


def test_without_output_constraints_every_input_is_unsafe():
    asked = parse_property(HEAD)
    assert asked.violation(np.array([0.0, 0.3]), np.array([1e9, -5.0, 0.0])) <= 0
    assert asked.violation(np.array([2.0, 0.3]), np.zeros(3)) == np.inf


def test_contradictions_leave_nothing():
    assert parse_property(HEAD + "(assert (<= 1 0))").cases == ()
    assert parse_property(HEAD + "(assert (>= X_0 2))").cases == ()
    assert len(parse_property(HEAD + "(assert (<= 0 1))(assert (<= Y_0 0))").cases[0].unsafe[0].bound) == 1


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value="-1e30", max_value="1e30"))
def test_bounds_are_rounded_outward(number):
    text = f"{number:f}"
    (case,) = parse_property(
        f"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 {text}))(assert (>= X_0 {text}))"
        f"(assert (<= Y_0 {text}))"
    ).cases
    exact = Fraction(text)
    assert Fraction(case.lower[0]) <= exact <= Fraction(case.upper[0])
    assert Fraction(np.nextafter(case.lower[0], np.inf)) > exact
    assert Fraction(case.unsafe[0].bound[0]) >= exact > Fraction(np.nextafter(case.unsafe[0].bound[0], -np.inf))


@given(st.fractions())
def test_rounding_is_tight(value):
    low, high = rounded_down(value), rounded_up(value)
    assert Fraction(low) <= value <= Fraction(high)
    assert low == high or np.nextafter(low, np.inf) == high


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(assert (<= X_0 X_1))", "between inputs"),
        ("(assert (<= X_0 Y_1))", "inputs and outputs together"),
        ("(assert (< Y_0 1))", "only and, or"),
        ("(assert (not (<= Y_0 1)))", "only and, or"),
        ("(assert (<= (* Y_0 Y_1) 1))", "product of two variables"),
        ("(assert (<= (/ Y_0 2) 1))", "by numbers"),
        ("(declare-const Z_0 Real)", "only real X_i and Y_i"),
        ("(declare-const X_2 Real)", "X_2 has no lower bound"),
        ("".join("(assert (or (<= Y_0 1) (<= Y_1 1)))" for _ in range(14)), "more than 10,000 cases"),
    ],
)
def test_what_is_not_understood_is_named(text: str, reason: str):
    with pytest.raises(Unsupported, match=reason):
        parse_property(HEAD + text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD + "(assert (<= Y_0 1)", "ends inside"),
        (HEAD + ")", "parenthesis too many"),
        (HEAD + "(assert (<= Y_7 1))", "Y_7 is not declared"),
        (HEAD + "(assert (<= X_7 1))", "X_7 is not declared"),
        (HEAD + "(assert (<= Y_0 one))", "neither a number"),
        (HEAD + "(assert Y_0)", "no formula"),
        (HEAD + "(maximize Y_0)", "no command"),
        (HEAD + "(declare-const X_4 Real)", "X_4 is declared where X_2 is due"),
        (HEAD + "(assert (<= X_0 1e999))", "too large"),
        ("", "no inputs"),
        ("hello", "outside of all parentheses"),
    ],
)
def test_broken_texts_are_refused(text: str, reason: str):
    with pytest.raises(InvalidInput, match=reason):
        parse_property(text)


def test_files_may_be_compressed_and_errors_name_them(tmp_path: Path):
    text = HEAD + "(assert (<= Y_0 Y_1))"
    (tmp_path / "a.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    assert read_property(tmp_path / "a.vnnlib.gz").inputs == 2
    (tmp_path / "cut.vnnlib.gz").write_bytes(gzip.compress(text.encode())[:-12])
    for name, reason in (("cut.vnnlib.gz", "cut.vnnlib.gz is no complete"), ("none.vnnlib", "no such file")):
        with pytest.raises(InvalidInput, match=reason):
            read_property(tmp_path / name)
    (tmp_path / "b.vnnlib").write_text(HEAD + "(assert (< Y_0 1))")
    with pytest.raises(Unsupported, match=r"b\.vnnlib: "):
        read_property(tmp_path / "b.vnnlib")


finite = st.floats(-1e6, 1e6)


@st.composite
def properties(draw) -> Property:
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    cases = []
    for number in range(draw(st.integers(1, 3))):
        lower = np.array(draw(st.lists(finite, min_size=inputs, max_size=inputs))) + 0.0
        upper = lower + draw(st.floats(0, 10))
        lower[0], upper[0] = number, number + 0.5  # different boxes, so that they stay apart
        unsafe = []
        for _ in range(draw(st.integers(1, 3))):
            size = draw(st.integers(1, 3))
            weight = draw(st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.5]), min_size=size * outputs,
                                   max_size=size * outputs))  # fmt: skip
            bound = draw(st.lists(finite, min_size=size, max_size=size))
            array = np.array(weight).reshape(size, outputs)
            array[:, 0] = np.where((array == 0).all(axis=1), 1.0, array[:, 0])
            unsafe.append(Conjunction(array, np.array(bound) + 0.0))
        cases.append(Case(lower, upper, tuple(unsafe)))
    return Property(inputs, outputs, tuple(cases))


@given(properties())
def test_what_is_written_reads_back_as_the_same(asked: Property):
    again = parse_property(write_property(asked))
    assert (again.inputs, again.outputs, len(again.cases)) == (asked.inputs, asked.outputs, len(asked.cases))
    for case, other in zip(asked.cases, again.cases, strict=True):
        assert case.lower.tolist() == other.lower.tolist()
        assert case.upper.tolist() == other.upper.tolist()
        for unsafe, same in zip(case.unsafe, other.unsafe, strict=True):
            assert unsafe.weight.tolist() == same.weight.tolist()
            assert unsafe.bound.tolist() == same.bound.tolist()


def test_counterexamples_read_back():
    x, y = np.array([0.1, -2.5e-7], dtype=np.float32), np.array([1.0], dtype=np.float32)
    text = write_counterexample(x, y)
    assert text.startswith("((X_0 ")
    assert text.endswith("(Y_0 1.0))\n")
    assert read_counterexample(text).astype(np.float32).tolist() == x.tolist()
    for broken in ("", "((X_1 0.5))", "((X_0 half))"):
        with pytest.raises(InvalidInput):
            read_counterexample(broken)


def test_violation_is_the_least_over_sets_and_the_largest_over_rows():
    asked = parse_property(HEAD + "(assert (or (and (<= Y_0 0) (<= Y_1 0)) (>= Y_2 5)))")
    inside = np.array([0.0, 0.3])
    assert asked.violation(inside, np.array([-1.0, 2.0, 0.0])) == 2.0
    assert asked.violation(inside, np.array([-1.0, -0.5, 0.0])) == -0.5
    assert asked.violation(inside, np.array([9.0, 9.0, 6.0])) == -1.0
    assert asked.violation(inside, np.array([np.nan, 0.0, 6.0])) == np.inf
    outside = np.array([1.50005, 0.3])
    assert asked.violation(outside, np.array([9.0, 9.0, 6.0])) == np.inf
    assert asked.violation(outside, np.array([9.0, 9.0, 6.0]), tolerance=1e-4) == -1.0


@given(st.floats(-1, 1), st.floats(0, 1e-6), st.floats(0, 1))
def test_float32_inside_stays_inside_where_it_can(low: float, width: float, share: float):
    high = low + width
    x = np.array([low + share * width])
    found = float32_inside(x, np.array([low]), np.array([high]))
    assert found.dtype == np.float32
    near = np.float32(low) if float(np.float32(low)) >= low else np.nextafter(np.float32(low), np.float32(2))
    if float(near) <= high:
        assert low <= float(found[0]) <= high
    else:
        assert found[0] == np.float32(x[0])
