from __future__ import annotations

import math

import pytest
import torch

from sokbench import Ball, InvalidInput, Problem
from tests.sokbench.core.toys import linear_network


@pytest.fixture
def network():
    return linear_network([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_a_radius_must_be_a_finite_number_of_at_least_zero(radius):
    with pytest.raises(InvalidInput, match="radius"):
        Ball("linf", radius)


def test_an_unknown_norm_names_the_known_ones():
    with pytest.raises(InvalidInput, match="linf, l2, l1, l0"):
        Ball("l3", 0.1)  # type: ignore[arg-type]


def test_an_empty_box_is_refused():
    with pytest.raises(InvalidInput, match="empty"):
        Ball("linf", 0.1, low=1.0, high=0.0)


@pytest.mark.parametrize(
    ("x", "label", "message"),
    [
        (torch.zeros(3), 0, r"shape \(3,\).*expects \(2,\)"),
        (torch.zeros(1, 2), 0, "without a batch dimension"),
        (torch.tensor([0.1, math.nan]), 0, "NaN"),
        (torch.tensor([0, 1]), 0, "floating point"),
        (torch.tensor([0.1, 1.5]), 0, "outside the box"),
        (torch.zeros(2), 2, "label 2 is out of range"),
        (torch.zeros(2), -1, "label -1 is out of range"),
    ],
)
def test_a_malformed_problem_is_refused_in_one_line(network, x, label, message):
    with pytest.raises(InvalidInput, match=message) as error:
        Problem(network, x, label, Ball("linf", 0.1, 0.0, 1.0))
    assert "\n" not in str(error.value)
