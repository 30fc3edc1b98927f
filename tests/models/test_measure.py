"""Counts on cards, for a linear network where attack and bounds are all exact."""

from __future__ import annotations

import torch
from torch import nn

from models.measure import measure
from models.training.recipe import Clean, CrownIbp, Gaussian
from sokbench.core.network import Network


def difference_of_pixels() -> Network:
    """Two classes, margin of class 0 = 2 (a - b) for an image of two pixels a, b."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    module = nn.Sequential(nn.Flatten(), layer).requires_grad_(False)
    return Network("pixels", module.eval(), (1, 1, 2), 2, "0" * 64)


# a - b is 0.5, 0.3, 0.1 and -0.1; l_inf radius e lowers it by 2 e where the box leaves room
IMAGES = torch.tensor([[0.75, 0.25], [0.65, 0.35], [0.55, 0.45], [0.45, 0.55]]).view(4, 1, 1, 2)
LABELS = torch.zeros(4, dtype=torch.int64)


def test_counts_at_the_given_radius() -> None:
    found = measure(difference_of_pixels(), Clean(), 0.1, IMAGES, LABELS)
    assert {m.quantity: m.correct for m in found} == {"clean": 3, "pgd": 2, "ibp": 2, "crown_ibp": 2}
    assert {m.settings.get("epsilon") for m in found} == {None, 0.1}
    assert all(m.total == 4 for m in found)


def test_counts_at_the_trained_radius() -> None:
    objective = CrownIbp(epsilon=0.2, ramp_start=0.0, ramp_length=1.0, final_kappa=0.5, final_beta=0.0)
    found = measure(difference_of_pixels(), objective, 0.1, IMAGES, LABELS)
    assert {m.quantity: m.correct for m in found} == {"clean": 3, "pgd": 1, "ibp": 1, "crown_ibp": 1}
    assert found[1].settings["epsilon"] == 0.2


def test_noise_is_measured_for_noisy_training() -> None:
    found = measure(difference_of_pixels(), Gaussian(sigma=1e-3), 0.1, IMAGES, LABELS)
    assert (found[-1].quantity, found[-1].correct, found[-1].total) == ("gaussian", 30, 40)
    drowned = measure(difference_of_pixels(), Gaussian(sigma=100.0), 0.1, IMAGES.repeat(50, 1, 1, 1), LABELS.repeat(50))
    assert 0.4 < drowned[-1].accuracy < 0.6
