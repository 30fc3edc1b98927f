from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sokbench.measured.names import (
    dataset_key,
    model_parts,
    percent_text,
    radius_text,
    rounded_down,
    seconds_text,
    setting_slug,
    setting_text,
    slug,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8417461, "0.841746"),
        (0.9999996, "0.999999"),
        (2 / 3, "0.666666"),
        (-0.12345678, "-0.123457"),
        (1234567.9, "1234560"),
        (1e-9, "0.000000001"),
        (0.5, "0.5"),
        (0.0, "0"),
        (float("inf"), "inf"),
    ],
)
def test_lower_bounds_are_never_printed_larger(value: float, text: str) -> None:
    assert rounded_down(value) == text


@given(st.text(max_size=120), st.text(max_size=120))
def test_slugs_are_safe_file_names_and_differ_between_names(a: str, b: str):
    assert re.fullmatch(r"[a-z0-9_.-]+", slug(a))
    assert not slug(a).startswith(".")
    assert ".." not in slug(a)
    assert (slug(a) == slug(b)) == (a == b)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("crown", "crown"), ("mnist5k/cnn_a/cadv", "mnist5k--cnn_a--cadv"), ("model.onnx", "model.onnx")],
)
def test_ordinary_names_stay_readable(name: str, expected: str):
    assert slug(name) == expected


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a--b"), ("a_b", "a-b"), ("A", "a"), ("../a", "a"), ("a/", "a"), ("", "x")]
)
def test_names_that_look_alike_do_not_share_a_file(one: str, other: str):
    assert slug(one) != slug(other)


@pytest.mark.parametrize(
    ("radius", "text"),
    [
        (8 / 255, "8/255"),
        (0.031372549, "8/255"),
        (0.1, "0.1"),
        (1.0, "1"),
        (0.2, "0.2"),
        (36 / 255, "36/255"),
        (0, "0"),
    ],
)
def test_radii_are_written_as_the_field_writes_them(radius: float, text: str):
    assert radius_text(radius) == text


def test_settings_have_a_text_and_a_slug_that_survives_spelling():
    assert setting_text("CIFAR-10", "linf", 8 / 255) == "CIFAR-10, ℓ∞, 8/255"
    assert setting_slug("CIFAR-10", "linf", 8 / 255) == setting_slug("cifar10", "linf", 8 / 255) == "cifar10-linf-8-255"
    assert setting_slug("mnist", "l2", None) == "mnist-l2"
    assert dataset_key("CIFAR-10") == "cifar10"


def test_only_zoo_names_have_architecture_and_training():
    assert model_parts("mnist5k/cnn_a/cadv") == ("cnn_a", "cadv")
    assert model_parts("folder/sub/net.onnx") == ("net.onnx", "")
    assert model_parts("package.module:network") == ("package.module:network", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0042, "4.2 ms"), (0.034, "34 ms"), (2.5, "2.50 s"), (13.0, "13.0 s"), (600.0, "10.0 min")],
)
def test_times_keep_two_or_three_digits(seconds: float | None, text: str):
    assert seconds_text(seconds) == text


def test_percentages_have_a_decimal_only_where_it_says_something():
    assert [percent_text(share) for share in (None, 0.0, 0.27, 0.275, 1.0)] == ["–", "0", "27", "27.5", "100"]
