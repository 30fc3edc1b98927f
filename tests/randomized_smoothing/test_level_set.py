"""The level-set method against brute force in the plane, and against its Gaussian limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import gamma

import sokbench
from randomized_smoothing.level_set import table
from randomized_smoothing.noise import Gaussian, L2Exponential

LEVEL = sokbench.certifier("level_set")


def test_brute_force_in_the_plane() -> None:
    """The plane cut into cells, the worst set filled greedily: the exact radius is in the last step of the table."""
    noise = L2Exponential(1.0, 2)
    step = np.sqrt(3.0) / 40
    edges = np.linspace(-14, 14, 1401)
    centres = (edges[1:] + edges[:-1]) / 2
    x, y = np.meshgrid(centres, centres, indexing="ij")
    here = np.exp(-np.hypot(x, y))
    here /= here.sum()
    for p in (0.6, 0.8, 0.95):
        radius = float(LEVEL.radius(p, None, noise))
        for shift, ahead in ((radius - 0.03, True), (radius + step + 0.03, False)):
            there = np.exp(-np.hypot(x - shift, y))
            there /= there.sum()
            order = np.argsort((there / here).ravel(), kind="stable")
            before, after = np.cumsum(here.ravel()[order]), np.cumsum(there.ravel()[order])
            assert (np.interp(p, before, after) > 0.5) == ahead


def test_the_gaussian_limit() -> None:
    """In many dimensions the noise is nearly Gaussian with the deviation of its coordinates; radii are on the grid."""
    d = 784
    p = np.array([0.55, 0.7, 0.9, 0.99, 0.999])
    found = LEVEL.radius(p, None, L2Exponential(1 / np.sqrt(d + 1.0), d))
    exact = sokbench.certifier("neyman_pearson").radius(p, None, Gaussian(1.0))
    assert (found <= exact + 0.02).all()
    assert (found >= exact - 0.045).all()


def test_the_table_is_safe_and_scales() -> None:
    radii, thresholds = table(4)
    assert (np.diff(radii) > 0).all()
    assert (np.diff(thresholds) <= 0).all()
    assert thresholds[0] < 0.5
    small, large = (LEVEL.radius([0.6, 0.9], None, L2Exponential(scale, 4)) for scale in (0.25, 1.0))
    np.testing.assert_allclose(large, 4 * small, rtol=1e-14)
    # a threshold is where the radius begins
    middle = 100
    assert float(LEVEL.radius(1 - thresholds[middle] + 1e-12, None, L2Exponential(1.0, 4))) <= radii[middle]
    assert float(LEVEL.radius(1 - thresholds[middle] - 1e-9, None, L2Exponential(1.0, 4))) < radii[middle]
    assert float(LEVEL.radius(1.0, None, L2Exponential(1.0, 4))) == pytest.approx(radii[-1])


def test_lengths_of_the_noise() -> None:
    noise = L2Exponential(0.5, 6)
    out = torch.empty(20_000, 6)
    noise.sample_(out, torch.zeros(6), torch.Generator().manual_seed(0))
    lengths = np.sort(out.norm(dim=1).numpy())
    expected = gamma(6, scale=0.5).ppf((np.arange(20_000) + 0.5) / 20_000)
    assert np.abs(gamma(6, scale=0.5).cdf(lengths) - gamma(6, scale=0.5).cdf(expected)).max() < 0.015
    np.testing.assert_allclose(out.mean(dim=0), np.zeros(6), atol=0.05)
