"""Sampling passes: cut off anywhere they go on to the same end; stopped ones keep their alpha."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import nn

import sokbench
from randomized_smoothing import sampling_pass
from randomized_smoothing.confidence import lower_bound
from randomized_smoothing.noise import Gaussian, Splitting
from randomized_smoothing.sampling import Stream, class_counts
from randomized_smoothing.sampling_pass import Image, SamplingPass
from randomized_smoothing.sequential import geometric_stages
from randomized_smoothing.stopping import level_of, stopping
from sokbench import InvalidInput, Unsupported
from sokbench.core.network import Network, network_from_module

RADII = [0.25, 0.5, 1.0]


def linear(offset: float = 0.0) -> Network:
    """Class 0 where x_1 > -offset in three dimensions."""
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
        layer.bias.copy_(torch.tensor([offset, -offset]))
    return network_from_module(layer, "linear", (3,))


def image(x: float) -> Image:
    return Image(linear(), torch.tensor([x, 0.0, 0.0]), Gaussian(0.5), 0, 7)


class CutOff(Exception):
    pass


def cut(done: SamplingPass) -> None:
    raise CutOff


@pytest.mark.parametrize("stops", [False, True])
def test_a_pass_that_is_cut_off_goes_on_to_the_same_end(stops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling_pass, "SECONDS", 0.0)  # pieces stay at their first size
    monkeypatch.setattr(sampling_pass, "FIRST_PIECE", 700)
    rule = stopping([(sokbench.certifier("neyman_pearson"), RADII)], Gaussian(0.5), 5000, 0.001) if stops else None
    one_image = image(0.5)
    whole = SamplingPass(one_image, 1000, 5000, rule, True)
    whole.run()
    counts: Any = None
    moments: tuple[float, ...] = ()
    sittings = 0
    while True:
        sittings += 1
        one = SamplingPass(one_image, 1000, 5000, rule, True, counts, moments)
        try:
            one.run(cut)
            break
        except CutOff:
            counts = one.counts
            moments = () if one.moments is None else tuple(one.moments.values.tolist())
    assert sittings > 3
    np.testing.assert_array_equal(one.counts, whole.counts)
    assert one.moments is not None
    assert whole.moments is not None
    assert one.moments.summary() == pytest.approx(whole.moments.summary(), rel=1e-12)
    for row, stage in enumerate(("selection", "estimation")):
        drawn = int(whole.counts[row].sum())
        alone = class_counts(linear(), one_image.x, Gaussian(0.5), drawn, Stream(0, 7, stage))  # type: ignore[arg-type]
        np.testing.assert_array_equal(whole.counts[row], alone)


def test_statistics_are_those_of_the_samples() -> None:
    """For the half-space the mean of the noise on it is sigma phi(x / sigma) along x_1, and 0 across."""
    done = SamplingPass(image(0.4), 100, 40_000, None, True)
    done.run()
    assert done.moments is not None
    found = done.moments.summary()
    density = np.exp(-((0.4 / 0.5) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert found["product"] == pytest.approx((0.5 * density) ** 2, rel=0.1)
    assert found["first"] == pytest.approx((0.5 * density) ** 2, rel=0.1)
    assert (found["even"], found["odd"], found["dimension"]) == (20_000, 20_000, 3)
    # the soft output is the logistic function of 2 x_1
    z = 0.4 + 0.5 * np.random.default_rng(0).normal(size=200_000)
    soft = 1 / (1 + np.exp(-2 * z))
    assert found["soft_mean"] == pytest.approx(soft.mean(), abs=0.01)
    assert found["soft_square"] == pytest.approx((soft**2).mean(), abs=0.01)


def test_stopped_passes_answer_what_was_asked_with_fewer_samples() -> None:
    certifiers = [sokbench.certifier("neyman_pearson"), sokbench.certifier("lipschitz")]
    rule = stopping([(certifier, RADII) for certifier in certifiers], Gaussian(0.5), 20_000, 0.001)
    drawn = []
    for x in (1.9, 0.7, -1.3):
        done = SamplingPass(image(x), 100, 20_000, rule)
        done.run()
        drawn.append(done.drawn)
        assert done.drawn in geometric_stages(20_000)
        level = level_of(done.drawn, 20_000, 0.001)
        for certifier in certifiers:
            found = certifier.certify(done.counts[0], done.counts[1], Gaussian(0.5), level)
            # its true radius is |x|; every question is answered
            assert [found.radius >= r for r in RADII] == [
                float(certifier.radius(ndtr(abs(x) / 0.5), None, Gaussian(0.5))) >= r for r in RADII
            ]
    assert max(drawn) < 20_000
    assert max(drawn[0], drawn[2]) < drawn[1]


def test_early_stopping_keeps_alpha() -> None:
    """The linear classifier 10,000 times: the radius at which a pass stops is false at most alpha of the time."""
    alpha, n, truth = 0.02, 3000, 0.9
    rule = stopping([(sokbench.certifier("neyman_pearson"), [0.5, 0.64, 0.7])], Gaussian(0.5), n, alpha)
    rng, wrong, stages = np.random.default_rng(0), 0, geometric_stages(n)
    decided = cache(rule.decided)

    @cache
    def false(hits: int, stage: int) -> bool:
        return bool(lower_bound(hits, stages[stage], level_of(stages[stage], n, alpha)) > truth)

    for _ in range(10_000):
        steps = rng.binomial(np.diff([0, *stages]), truth).cumsum().tolist()
        stage = next((i for i, hits in enumerate(steps) if decided(hits, i)), len(stages) - 1)
        wrong += false(steps[stage], stage)
    assert wrong / 10_000 <= alpha


def test_what_cannot_stop_a_pass() -> None:
    with pytest.raises(InvalidInput, match="does not stop after 101"):
        level_of(101, 5000, 0.001)
    with pytest.raises(Unsupported):
        stopping([(sokbench.certifier("teng"), RADII)], Gaussian(0.5), 5000, 0.001)
    with pytest.raises(Unsupported):
        stopping([(sokbench.certifier("neyman_pearson"), RADII)], Splitting(20, 255), 5000, 0.001)
