from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from sokbench import BoundingVerifier, MethodInfo, OutOfTime, Termination, Unsupported, certified_radius
from sokbench.core.radius import search_radius
from tests.sokbench.core.toys import ExactLinear, linear_network

NETWORK = linear_network([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
X = torch.tensor([0.8, 0.2])


def test_bisection_finds_the_exact_radius_of_a_linear_network_from_below():
    radius = certified_radius(ExactLinear(), NETWORK, X, 0, norm="linf")
    assert 0.3 * 0.999 - 1e-9 <= radius <= 0.3


def test_a_misclassified_input_has_radius_zero_at_once():
    found = search_radius(ExactLinear(), NETWORK, X, 1, norm="linf")
    assert (found.radius, found.steps, found.termination) == (0.0, 1, Termination.OK)


def test_the_box_bounds_the_search():
    sure = linear_network([[0.0, 0.0], [0.0, 0.0]], [1.0, 0.0])
    assert certified_radius(ExactLinear(), sure, X, 0, norm="linf", low=0.0, high=1.0) == 1.0


def test_an_unsupported_norm_is_raised_not_reported_as_zero():
    with pytest.raises(Unsupported):
        certified_radius(ExactLinear(), NETWORK, X, 0, norm="l2")


def test_the_best_proved_radius_survives_the_deadline():
    class Slow(BoundingVerifier):
        info: ClassVar[MethodInfo] = ExactLinear.info

        def margins(self, network, x, labels, ball, deadline=None):
            if ball.radius > 0.05:
                raise OutOfTime()
            return ExactLinear().margins(network, x, labels, ball)

    found = search_radius(Slow(), NETWORK, X, 0, norm="linf", limit=60.0)
    assert (found.radius, found.termination) == (0.04, Termination.TIMEOUT)


def test_l0_radii_are_whole_numbers():
    class Budget(BoundingVerifier):
        info: ClassVar[MethodInfo] = MethodInfo(
            slug="budget", title="", kind="verifier", family="baseline", norms=("l0",), summary="", paper=""
        )

        def margins(self, network, x, labels, ball, deadline=None):
            return torch.tensor([[torch.inf, 5.5 - ball.radius]])

    wide = linear_network([[1.0] * 8, [0.0] * 8], [0.0, 0.0])
    assert certified_radius(Budget(), wide, torch.ones(8), 0, norm="l0") == 5.0
