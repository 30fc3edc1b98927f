"""l0 certificates against exhaustion of everything the noise can do."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import sokbench
from randomized_smoothing.l0_ablation import chances_of_a_hit
from randomized_smoothing.l0_keep import chances, tail_needed
from randomized_smoothing.noise import Ablation, Replacement


def threshold_by_exhaustion(keep: Fraction, levels: int, r: int, agreeing: int) -> Fraction:
    """The least p that certifies r, by trying all noisy copies of two inputs that differ in r coordinates and agree in
    others: the most likely ones from x are filled in until the chance from x' is one half."""
    other = (1 - keep) / (levels - 1)
    copies: dict[Fraction, tuple[Fraction, Fraction]] = {}
    for z in itertools.product(range(levels), repeat=r + agreeing):
        # x is all 0; x' is 1 on the first r coordinates
        here = math.prod((keep if value == 0 else other for value in z), start=Fraction(1))
        there = math.prod(
            (keep if value == (1 if i < r else 0) else other for i, value in enumerate(z)), start=Fraction(1)
        )
        a, b = copies.get(here / there, (Fraction(0), Fraction(0)))
        copies[here / there] = (a + here, b + there)
    p = from_other = Fraction(0)
    for ratio in sorted(copies, reverse=True):
        here, there = copies[ratio]
        if from_other + there >= Fraction(1, 2):
            return p + (Fraction(1, 2) - from_other) * ratio
        p, from_other = p + here, from_other + there
    raise AssertionError("unreachable: the chances add up to one")


@pytest.mark.parametrize(("keep", "levels"), [(0.75, 2), (0.5, 3), (0.25, 5)])
@pytest.mark.parametrize(("r", "agreeing"), [(1, 0), (2, 0), (3, 0), (1, 2), (2, 1)])
def test_keep_thresholds_by_exhaustion_whatever_agrees(keep: float, levels: int, r: int, agreeing: int) -> None:
    exact = 1 - threshold_by_exhaustion(Fraction(keep), levels, r, agreeing)
    found = tail_needed(keep, levels, r)
    assert found < exact
    assert found == pytest.approx(float(exact), rel=1e-15)


def test_keep_chances_are_a_distribution_and_thresholds_rise() -> None:
    for keep, levels in ((0.8, 2), (0.2, 256), (0.5, 3)):
        a = Fraction(keep)
        b = (1 - a) / (levels - 1)
        for r in (1, 5, 20):
            chance = chances(a, b, r)
            assert sum(chance.values()) == 1
            assert all(chance[-s] * a**s == chance[s] * b**s for s in range(r + 1))
        tails = [tail_needed(keep, levels, r) for r in range(1, 9)]
        assert all(later < earlier for earlier, later in itertools.pairwise(tails))


def test_radii_are_whole_numbers_that_turn_at_the_threshold() -> None:
    keep, noise = sokbench.certifier("l0_keep"), Replacement(0.8, 2)
    for r in (1, 2, 5):
        tail = tail_needed(0.8, 2, r)
        assert float(keep.radius(1 - tail * 1.0001, None, noise)) == r - 1
        assert float(keep.radius(1 - tail * 0.9999, None, noise)) == r
    ablation = sokbench.certifier("l0_ablation")
    assert ablation.radius([0.5, 0.59, 0.61], None, Ablation(10, 100, 0.5)).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("keep", "pixels"), [(1, 10), (3, 20), (45, 1024), (20, 784)])
def test_ablation_in_rationals(keep: int, pixels: int) -> None:
    """p > 1/2 + Delta(r) with Delta from binomial coefficients, at the thresholds and beside them."""
    certifier, noise = sokbench.certifier("l0_ablation"), Ablation(keep, pixels, 0.5)
    table = chances_of_a_hit(keep, pixels)
    for r in range(1, min(len(table), 30)):
        exact = 1 - Fraction(math.comb(pixels - r, keep), math.comb(pixels, keep))
        assert exact < Fraction(float(table[r])) < exact + Fraction(1, 10**15)
        if exact >= Fraction(1, 2):
            break
        assert float(certifier.radius(0.5 + float(exact) + 1e-9, None, noise)) == r
        assert float(certifier.radius(0.5 + float(exact) - 1e-9, None, noise)) == r - 1
    # two-sided: what p - q = 0.4 certifies, p = 0.7 alone certifies
    assert float(certifier.radius(0.5, 0.1, noise)) == float(certifier.radius(0.7 - 1e-12, None, noise))


def test_ablation_by_exhaustion_of_what_is_shown() -> None:
    """A base classifier that says B as soon as it sees a changed pixel: over all choices of 2 pixels of 6 the counts
    move by exactly Delta, and the certificate holds with equality nowhere."""
    shown = list(itertools.combinations(range(6), 2))
    for r in (1, 2, 3):
        hit = sum(any(pixel < r for pixel in pair) for pair in shown)
        delta = Fraction(hit, len(shown))
        if r < len(chances_of_a_hit(2, 6)):
            assert float(chances_of_a_hit(2, 6)[r]) == pytest.approx(float(delta), rel=1e-15)


def test_replacement_follows_its_law() -> None:
    noise = Replacement(0.6, 4)
    x = torch.tensor([0.0, 1 / 3, 1.0]).repeat(2000)
    out = torch.empty(20, *x.shape)
    noise.sample_(out, x, torch.Generator().manual_seed(0))
    moved = ((out - x) * 3).round().long() % 4
    shares = moved.flatten().bincount(minlength=4).double() / moved.numel()
    np.testing.assert_allclose(shares.numpy(), [0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3], atol=0.006)
    assert set((out * 3).round().flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_ablation_shows_exactly_the_kept_pixels_of_all_channels() -> None:
    noise, x = Ablation(5, 12, -1.0), torch.rand(3, 3, 4)
    out = torch.empty(4000, 3, 3, 4)
    noise.sample_(out, x, torch.Generator().manual_seed(0))
    shown = out != -1.0
    assert (shown.sum(dim=(2, 3)) == 5).all()
    assert (shown == shown[:, :1]).all()
    assert torch.equal(out[shown], x.expand_as(out)[shown])
    np.testing.assert_allclose(shown[:, 0].double().mean(dim=0).numpy(), 5 / 12, atol=0.04)
