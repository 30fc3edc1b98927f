"""Certificates against transformations: noises compose as they claim, and no radius exceeds a known distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

import sokbench
from randomized_smoothing.noise import BrightnessContrast, Gaussian, Translation
from sokbench import InvalidInput

COLOUR = sokbench.certifier("semantic_brightness_contrast")


def test_translations_add_up_and_wrap() -> None:
    x = torch.arange(2 * 5 * 7.0).view(2, 5, 7)
    noise = Translation(3.0)
    out, moved = torch.empty(300, 2, 5, 7), torch.empty(300, 2, 5, 7)
    noise.sample_(out, x, torch.Generator().manual_seed(0))
    noise.sample_(moved, x.roll((2, -1), (1, 2)), torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, out.roll((2, -1), (2, 3)), rtol=0, atol=0)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.empty(2, 300, 1, dtype=torch.float64).normal_(0.0, 3.0, generator=generator).round().long()
    for i in range(300):
        shift = (int(numbers[0, i]), int(numbers[1, i]))
        assert torch.equal(out[i], x.roll(shift, (1, 2)))
    with pytest.raises(InvalidInput, match="channels, height, width"):
        noise.sample_(torch.empty(3, 4), torch.zeros(4), torch.Generator())


def test_the_translation_radius_is_cohens_in_pixels() -> None:
    p = np.linspace(0.51, 0.999, 20)
    found = sokbench.certifier("semantic_translation").radius(p, None, Translation(2.5))
    np.testing.assert_array_equal(found, sokbench.certifier("neyman_pearson").radius(p, None, Gaussian(2.5)))


def test_brightness_and_contrast_compose_as_stated() -> None:
    x = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(1))
    k0, b0, noise = 0.2, -0.1, BrightnessContrast(0.1, 0.3)
    out = torch.empty(50, 1, 3, 4)
    noise.sample_(out, float(np.exp(k0)) * (x + b0), torch.Generator().manual_seed(0))
    drawn = torch.empty(2, 50, 1, 1, 1, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(0))
    k, b = 0.1 * drawn[0], 0.3 * drawn[1]
    torch.testing.assert_close(out.double(), (k + k0).exp() * (x + b0 + np.exp(-k0) * b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-1.0, 0.0), (-0.6, 0.8)])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.99])
def test_no_radius_exceeds_the_distance_of_a_half_plane(weights: tuple[float, float], p: float) -> None:
    """Class A is w.(k, b) < t in units of the deviations: for every attack in the ellipse P[A] is known and >= 1/2."""
    noise = BrightnessContrast(0.15, 0.2)
    radius = float(COLOUR.radius(p, None, noise))
    assert 0 < radius <= float(norm.ppf(p))
    t = float(norm.ppf(p))
    for angle in np.linspace(0, 2 * np.pi, 73):
        shift_k, shift_b = radius * np.cos(angle), radius * np.sin(angle)
        k0 = noise.contrast * shift_k
        # seen from x: k has the mean k0, b the mean exp(-k0) shift_b and the deviation exp(-k0), in its units
        mean = weights[0] * shift_k + weights[1] * np.exp(-k0) * shift_b
        spread = np.hypot(weights[0], weights[1] * np.exp(-k0))
        assert norm.cdf((t - mean) / spread) >= 0.5


@pytest.mark.parametrize("outside", [False, True])
def test_the_worst_sets_for_another_deviation(outside: bool) -> None:
    """Class A is |b| > c or |b| < c: P[A] at each contrast in the ellipse, without and with brightness."""
    noise, p = BrightnessContrast(0.3, 0.2), 0.9
    radius = float(COLOUR.radius(p, None, noise))
    c = float(norm.ppf(1 - p / 2)) if outside else float(norm.ppf((1 + p) / 2))
    for shift_k in np.linspace(-radius, radius, 41):
        k0 = noise.contrast * shift_k
        spread, mean = np.exp(-k0), np.exp(-k0) * np.sqrt(max(radius**2 - shift_k**2, 0.0))
        inside = norm.cdf((c - mean) / spread) - norm.cdf((-c - mean) / spread)
        assert (1 - inside if outside else inside) >= 0.5


def test_without_contrast_it_is_nearly_cohens() -> None:
    p = np.array([0.6, 0.9, 0.999])
    found = COLOUR.radius(p, None, BrightnessContrast(1e-7, 0.2))
    np.testing.assert_allclose(found, norm.ppf(p), rtol=1e-4)
    assert (found <= norm.ppf(p)).all()
