"""The clean baseline falsifies exactly the inputs that the network misclassifies."""

from __future__ import annotations

import pytest
import torch

import sokbench
from sokbench.core.problem import NORMS, Ball, Problem
from tests.verifiers.attacks.linear_networks import linear_network


@pytest.mark.parametrize("norm", NORMS)
def test_falsified_exactly_where_misclassified(norm: str) -> None:
    network = linear_network(torch.eye(2), torch.zeros(2))
    ball = Ball(norm, 1.0, 0.0, 1.0)  # type: ignore[arg-type]
    clean = sokbench.method("clean")
    right = clean.verify(Problem(network, torch.tensor([0.75, 0.25]), 0, ball))
    wrong = clean.verify(Problem(network, torch.tensor([0.75, 0.25]), 1, ball))
    tie = clean.verify(Problem(network, torch.tensor([0.5, 0.5]), 0, ball))
    assert (right.verdict, right.witness) == ("unknown", None)
    assert right.stats["attained_margin"] == pytest.approx(0.5)
    assert wrong.verdict == "falsified"
    assert tie.verdict == "falsified"
