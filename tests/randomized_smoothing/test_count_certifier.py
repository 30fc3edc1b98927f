"""The statistics that all count certifiers share, tried on classifiers whose probabilities are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

import sokbench
from randomized_smoothing.confidence import lower_bound, upper_bound
from randomized_smoothing.noise import Gaussian, Splitting
from randomized_smoothing.sampling import Stream, class_counts
from sokbench import ABSTAIN, Certificate, InvalidInput
from sokbench.core.network import network_from_module


def certify(selection: list[int], counts: list[int], alpha: float = 0.001) -> Certificate:
    return sokbench.certifier("neyman_pearson").certify(np.array(selection), np.array(counts), Gaussian(0.5), alpha)


def test_selection_picks_the_class_and_estimation_bounds_it() -> None:
    certificate = certify([1, 9, 0], [1000, 0, 0])
    assert certificate.prediction == ABSTAIN  # class 1 was selected; that class 0 has all the counts is no help
    certificate = certify([1, 9, 0], [10, 980, 10])
    assert certificate.prediction == 1
    assert certificate.p == lower_bound(980, 1000, 0.001)
    assert certificate.q == upper_bound(20, 1000, 0.001)
    assert certificate.radius == pytest.approx(0.5 * norm.ppf(certificate.p), rel=1e-12)


def test_abstains_at_one_half() -> None:
    nine, ten = certify([9, 0], [9, 0]), certify([9, 0], [10, 0])
    assert (nine.prediction, nine.radius) == (ABSTAIN, 0.0)
    assert nine.p == pytest.approx(0.001 ** (1 / 9), rel=1e-9)
    # 0.001^(1/10) = 0.501: ten unanimous samples are the fewest that certify anything at alpha = 0.001
    assert ten.prediction == 0
    assert 0 < ten.radius < 0.01


@pytest.mark.parametrize(
    ("selection", "counts", "alpha", "message"),
    [
        ([1, 2], [1, 2, 3], 0.1, "classes"),
        ([1, 2], [-1, 2], 0.1, "negative"),
        ([0, 0], [1, 2], 0.1, "at least one sample"),
        ([1, 2], [1, 2], 1.0, "alpha"),
        ([0.5, 2], [1, 2], 0.1, "integers"),
    ],
)
def test_bad_counts(selection: list[int], counts: list[int], alpha: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        certify(selection, counts, alpha)


@pytest.mark.parametrize("slug", ["renyi", "first_order", "lipschitz_soft", "splitting_noise"])
def test_both_stages_count_the_same_classes(slug: str) -> None:
    noise = Splitting(6, 255) if slug == "splitting_noise" else Gaussian(0.5)
    with pytest.raises(InvalidInput, match="2 classes in the selection, 3 in the estimation"):
        sokbench.certifier(slug).certify(np.array([1, 2]), np.array([1, 2, 3]), noise, 0.001)


def test_reused_samples_would_be_wrong_too_often_and_separate_ones_are_not() -> None:
    """Why there are two stages: with 200 equally likely classes, the class the estimation itself selects is
    overestimated almost always, while an independently selected one is so at most alpha of the time."""
    classes, n, alpha, repetitions = 200, 100, 0.05, 2000
    rng = np.random.default_rng(1)
    selection = rng.multinomial(n, np.full(classes, 1 / classes), repetitions)
    estimation = rng.multinomial(n, np.full(classes, 1 / classes), repetitions)
    chosen = selection.argmax(axis=1)
    separate = lower_bound(estimation[np.arange(repetitions), chosen], n, alpha) > 1 / classes
    reused = lower_bound(estimation.max(axis=1), n, alpha) > 1 / classes
    assert separate.mean() <= alpha
    assert reused.mean() > 0.5


def test_end_to_end_radius_approaches_the_exact_distance_from_below() -> None:
    layer = nn.Linear(3, 2)
    weight = torch.tensor([2.0, -1.0, 2.0])
    with torch.no_grad():
        layer.weight.copy_(torch.stack([weight, torch.zeros(3)]))
        layer.bias.zero_()
    network, x = network_from_module(layer, "linear", (3,)), torch.tensor([0.3, 0.0, 0.3])
    distance = float(weight @ x / weight.norm())
    np_certifier, noise = sokbench.certifier("neyman_pearson"), Gaussian(0.5)
    radii = []
    for n in (100, 1000, 30_000):
        selection = class_counts(network, x, noise, 100, Stream(0, 0, "selection"))
        counts = class_counts(network, x, noise, n, Stream(0, 0, "estimation"))
        radii.append(np_certifier.certify(selection, counts, noise, 0.001).radius)
    assert radii == sorted(radii)
    assert radii[-1] < distance < radii[-1] * 1.1


def test_classwise_bounds_certify_below_one_half() -> None:
    """A class with 45% of the samples and no strong rival: nothing is known of it one against the rest."""
    classwise, noise = sokbench.certifier("neyman_pearson_classwise"), Gaussian(0.5)
    counts = np.array([4500, 1100, 1100, 1100, 1100, 1100])
    certificate = classwise.certify(counts, counts, noise, 0.001)
    assert certificate.prediction == 0
    assert certificate.p < 0.5
    assert certificate.q == upper_bound(1100, 10_000, 0.001 / 6)
    assert certificate.radius == pytest.approx(0.25 * (norm.ppf(certificate.p) - norm.ppf(certificate.q)), rel=1e-12)
    assert sokbench.certifier("neyman_pearson").certify(counts, counts, noise, 0.001).prediction == ABSTAIN
    # whichever class is the strongest rival counts, not the one the selection puts second
    rival = np.array([4500, 200, 4300, 300, 300, 400])
    assert classwise.certify(np.array([60, 40, 0, 0, 0, 0]), rival, noise, 0.001).prediction == ABSTAIN
