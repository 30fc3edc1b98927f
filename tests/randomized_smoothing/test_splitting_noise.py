"""Deterministic splitting noise: every perturbation of a tiny input is tried."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import sokbench
from randomized_smoothing.noise import Splitting
from randomized_smoothing.sampling import Stream, class_counts
from sokbench import ABSTAIN, InvalidInput
from sokbench.core.network import network_from_module

NOISE = Splitting(6, 10)


def copies(x: list[int]) -> torch.Tensor:
    """All forms of the noise around an input of tenths, shape (levels, len(x))."""
    out = torch.empty(NOISE.levels, len(x))
    NOISE.draw_(out, torch.tensor(x) / 10, torch.Generator(), 0)
    return out


def test_one_step_of_one_coordinate_changes_one_form() -> None:
    for a, b in itertools.product(range(11), range(10)):
        before, after = copies([a, b]), copies([a, b + 1])
        changed = (before != after).any(dim=1)
        # a form may differ in nothing visible where the cut to [0, 1] hides it
        assert changed.sum() <= 1
    moved = sum(int((copies([3, b]) != copies([3, b + 1])).any()) for b in range(10))
    assert moved >= 9


def test_noisy_values_are_middles_of_intervals_that_hold_the_input() -> None:
    for level in range(11):
        values = copies([level] * 50)
        # the interval has length 6/10 before it is cut to [0, 1]
        assert ((values * 10 - level).abs() <= 3.0).all()
        assert (values >= 0).all()
        assert (values <= 1).all()


def test_first_counts_through_all_forms() -> None:
    x, out = torch.tensor([0.3, 0.8]), torch.empty(4, 2)
    everything = copies([3, 8])
    NOISE.draw_(out, x, torch.Generator(), 4)
    assert torch.equal(out, everything[[4, 5, 0, 1]])
    random = torch.empty(5000, 2)
    NOISE.sample_(random, x, torch.Generator().manual_seed(0))
    forms = (random[:, None] == everything).all(dim=2).double().mean(dim=0)
    assert float(forms.min()) >= 0.1


def test_no_perturbation_within_the_radius_changes_the_class() -> None:
    """Random networks on two coordinates, every input, every perturbed input on the grid: all within the radius keep
    the class, and now and then the very next one does not."""
    certifier, tight = sokbench.certifier("splitting_noise"), 0
    grid = list(itertools.product(range(11), repeat=2))
    forms = torch.stack([copies(list(x)) for x in grid])
    for seed in range(30):
        torch.manual_seed(seed)
        layer = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        with torch.no_grad():
            classes = layer(forms).argmax(dim=2).numpy()
        counts = np.stack([np.bincount(row, minlength=3) for row in classes])
        predictions = counts.argmax(axis=1)
        for i, x in enumerate(grid):
            found = certifier.certify(counts[i], counts[i], NOISE, 0.5)
            if found.prediction == ABSTAIN:
                continue
            steps = [abs(x[0] - y[0]) + abs(x[1] - y[1]) for y in grid]
            nearest = min((s for s, c in zip(steps, predictions, strict=True) if c != found.prediction), default=99)
            assert round(found.radius * 10) < nearest
            tight += round(found.radius * 10) + 1 == nearest
    assert tight > 0


def test_end_to_end_counts_are_exact_and_repeat() -> None:
    layer = nn.Linear(4, 2)
    network, x = network_from_module(layer, "linear", (4,)), torch.tensor([0.1, 0.5, 0.9, 0.3])
    once = class_counts(network, x, NOISE, 6, Stream(0, 0, "estimation"))
    np.testing.assert_array_equal(class_counts(network, x, NOISE, 60_000, Stream(1, 5, "selection")), 10_000 * once)
    certifier = sokbench.certifier("splitting_noise")
    first, again = (certifier.certify(once, k * once, NOISE, 0.001) for k in (1, 7))
    assert first == again
    with pytest.raises(InvalidInput, match="whole number of sweeps"):
        certifier.certify(once, np.array([5, 2]), NOISE, 0.001)
    with pytest.raises(InvalidInput, match="multiples of 1/10"):
        class_counts(network, x + 0.03, NOISE, 6, Stream(0, 0, "estimation"))


def test_ties_and_radii() -> None:
    certifier = sokbench.certifier("splitting_noise")
    for counts, expected in (([4, 2, 0], 1), ([2, 4, 0], 0), ([6, 0, 0], 3), ([0, 6, 0], 2), ([3, 3, 0], 0)):
        found = certifier.certify(np.array(counts), np.array(counts), NOISE, 0.001)
        assert found.radius == expected / 10, counts
    assert certifier.certify(np.array([0, 1]), np.array([6, 0]), NOISE, 0.001).prediction == ABSTAIN
    # from shares alone ties count as lost
    assert certifier.radius([1.0, 4 / 6, 0.5], [0.0, 2 / 6, 0.5], NOISE).tolist() == [0.2, 0.0, 0.0]
