"""Certified radii of a batch: certified, the largest, and those of the search for one input."""

from __future__ import annotations

import pytest
import torch

import sokbench
from sokbench.core.problem import Ball, Norm
from sokbench.core.radius import search_radius
from tests.verifiers.bounds.nets import dense
from verifiers.bounds import margin_bounds
from verifiers.bounds.radius import certified_radii
from verifiers.graph import graph_of

NETWORK = sokbench.load_network(dense([6, 20, 15, 4], seed=7).float(), input_shape=(6,))
X = torch.rand(5, 6, generator=torch.Generator().manual_seed(3))
LABELS = NETWORK(X).argmax(dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("box", [(None, None), (0.0, 1.0)], ids=["free", "box"])
def test_radii_are_those_of_single_searches(norm: Norm, box: tuple[float | None, float | None]) -> None:
    low, high = box
    found = certified_radii(NETWORK, X, LABELS, norm, "crown", low, high)
    for i, radius in enumerate(found.tolist()):
        assert radius > 0
        alone = search_radius(sokbench.method("crown"), NETWORK, X[i], int(LABELS[i]), norm, None, low, high)
        assert radius == pytest.approx(alone.radius, rel=2e-3)
        graph, ball, x, label = graph_of(NETWORK), Ball(norm, radius, low, high), X[i : i + 1], LABELS[i : i + 1]
        assert bool((margin_bounds(graph, x, label, ball) > 0).all())
        wider = Ball(norm, radius * 1.003, low, high)
        assert not bool((margin_bounds(graph, x, label, wider) > 0).all())


def test_a_wrong_label_has_no_radius() -> None:
    wrong = LABELS.clone()
    wrong[2] = (wrong[2] + 1) % 4
    found = certified_radii(NETWORK, X, wrong, "linf")
    assert found[2] == 0
    assert bool((found[[0, 1, 3, 4]] > 0).all())


def test_a_tighter_plan_certifies_more() -> None:
    assert bool(
        (
            certified_radii(NETWORK, X, LABELS, "linf", "crown") > certified_radii(NETWORK, X, LABELS, "linf", "ibp")
        ).all()
    )
