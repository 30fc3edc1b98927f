"""The class of a noisy input, in float32 and in bfloat16: that of float64 evaluation, in whatever batch it comes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from randomized_smoothing import base_classifier, sampling
from randomized_smoothing.base_classifier import NEAR_TIE_16, BaseClassifier, rounded
from randomized_smoothing.noise import Gaussian
from randomized_smoothing.sampling import Request, Stream, class_counts, count_classes
from sokbench import InvalidInput, Unsupported
from sokbench.core.evaluation import logits64
from sokbench.core.network import Network, network_from_module
from sokbench.networks import load_network

NOISE, STREAM = Gaussian(0.5), Stream(3, 7, "estimation")


@pytest.fixture
def network() -> Network:
    """Many of its noisy inputs are near ties: bfloat16 leaves them open, and the float32 network says otherwise."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return network_from_module(module, "conv", (1, 8, 8))


def test_bfloat16_counts_the_classes_of_the_rounded_network(network: Network) -> None:
    x = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    counts = class_counts(network, x, NOISE, 5000, STREAM, "bfloat16")
    np.testing.assert_array_equal(counts, class_counts(rounded(network), x, NOISE, 5000, STREAM))
    assert (counts != class_counts(network, x, NOISE, 5000, STREAM)).any()  # it is another classifier


def test_bfloat16_counts_do_not_depend_on_batches_order_or_cuts(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = class_counts(network, x[0], NOISE, 3000, STREAM, "bfloat16")
    other = Request(x[1], Stream(3, 8, "estimation"), 0, 700)
    for budget in (1, 2**16, 2**20):
        monkeypatch.setattr(sampling, "BYTES", budget)
        parts = [Request(x[0], STREAM, 1234, 3000), other, Request(x[0], STREAM, 0, 1234)]
        counts = count_classes(network, NOISE, parts, precision="bfloat16")
        np.testing.assert_array_equal(counts[0] + counts[2], whole)


@pytest.mark.parametrize("name", ["mnist5k/cnn_a/gaussian025", "cifar10/conv_s/gaussian025"])
def test_bfloat16_is_trusted_far_above_its_rounding_only(name: str) -> None:
    """What shipped networks err by in bfloat16, in batches of any size, is a fifth of what it takes to be trusted."""
    shipped = load_network(name)
    rows = torch.rand(64, *shipped.input_shape, generator=torch.Generator().manual_seed(0))
    exact = logits64(rounded(shipped), rows).float()
    with torch.no_grad():
        for size in (1, 7, 64):
            batch = BaseClassifier(shipped, "bfloat16").glance(rows[:size])[0]
            assert (batch - exact[:size]).abs().max() < NEAR_TIE_16 / 5 * exact[:size].abs().max()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_level_agrees_with_float64(
    network: Network, precision: base_classifier.Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = BaseClassifier(network, precision)
    rows = torch.rand(4000, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 3
    with torch.no_grad():
        exact = logits64(base.network, rows).argmax(dim=1)
        _, classes, decided = base.glance(rows)
        assert torch.equal(classes[decided], exact[decided])
        assert torch.equal(base.settle(rows), exact)
        assert bool(decided.any())
        if precision == "bfloat16":
            assert not bool(decided.all())
            assert not torch.equal(classes, exact)  # bfloat16 alone would be wrong


def test_what_precision_cannot_be(network: Network) -> None:
    x = torch.zeros(1, 8, 8)
    with pytest.raises(InvalidInput, match="float32 or bfloat16, not 'float16'"):
        class_counts(network, x, NOISE, 1, STREAM, "float16")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="statistics are of float32"):
        count_classes(network, NOISE, [Request(x, STREAM, 0, 1)], lambda *_: None, "bfloat16")

    class Stubborn(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.ones(2, 2)

    with pytest.raises(Unsupported, match="stubborn does not run in bfloat16"):
        BaseClassifier(network_from_module(Stubborn(), "stubborn", (2,)), "bfloat16")
