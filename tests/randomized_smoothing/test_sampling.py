from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from randomized_smoothing import sampling
from randomized_smoothing.noise import Gaussian
from randomized_smoothing.sampling import BLOCK_VALUES, Stream, class_counts
from sokbench.core.errors import InvalidInput
from sokbench.core.network import Network
from sokbench.networks import network_from_module


@pytest.fixture
def conv_network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 5))
    return network_from_module(module, "conv", (3, 28, 28))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def linear_network(weight: list[float], bias: float) -> Network:
    layer = nn.Linear(len(weight), 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight, [0.0] * len(weight)]))
        layer.bias.copy_(torch.tensor([bias, 0.0]))
    return network_from_module(layer, "linear", (len(weight),))


def test_counts_do_not_depend_on_memory_or_threads(
    conv_network: Network, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    x, stream = torch.rand(3, 28, 28), Stream(3, 7, "estimation")
    torch.set_num_threads(1)
    expected = class_counts(conv_network, x, Gaussian(0.5), 333, stream)
    assert expected.dtype == np.int64
    assert expected.sum() == 333
    torch.set_num_threads(2)
    np.testing.assert_array_equal(class_counts(conv_network, x, Gaussian(0.5), 333, stream), expected)
    for budget in (1, 2**18, 2**21):  # one sample at a time, less than a block, a few blocks
        monkeypatch.setattr(sampling, "BYTES", budget)
        np.testing.assert_array_equal(class_counts(conv_network, x, Gaussian(0.5), 333, stream), expected)


def test_budget_bounds_the_batch(conv_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    hook = conv_network.module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(sampling, "BYTES", 2**20)
    class_counts(conv_network, torch.rand(3, 28, 28), Gaussian(0.5), 500, Stream(0, 0, "estimation"))
    hook.remove()
    # the widest activation has 4 * 26 * 26 float32 values, of which four fit per sample
    assert 1 < max(sizes) <= 2**20 // (4 * 4 * 4 * 26 * 26)


def test_near_ties_are_decided_in_float64() -> None:
    # two logits that differ by 1e-12 of their size: float32 cannot tell them apart, float64 can
    module = nn.Linear(1, 3).double()
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([0.5, 1.0, 1.0 + 1e-12], dtype=torch.float64))

    class Lossy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.double()).to(x.dtype)

    network = Network("near tie", Lossy().eval(), (1,), 3, "")
    counts = class_counts(network, torch.zeros(1), Gaussian(1.0), 20, Stream(0, 0, "selection"))
    np.testing.assert_array_equal(counts, [0, 0, 20])


def test_shorter_runs_are_prefixes_of_longer_ones() -> None:
    """Counts of n samples only grow with n, each step by one sample, within and across blocks."""
    network = linear_network([1.0] * 5000, 0.0)
    rows = BLOCK_VALUES // 5000
    counts = [
        class_counts(network, torch.zeros(5000), Gaussian(1.0), n, Stream(0, 0, "selection"))
        for n in range(1, 2 * rows + 3)
    ]
    steps = np.diff(np.stack(counts), axis=0)
    assert (steps >= 0).all()
    assert (steps.sum(axis=1) == 1).all()
    assert (steps[:, 0] == 1).any()
    assert (steps[:, 1] == 1).any()


def test_seed_index_and_stage_give_other_samples() -> None:
    network = linear_network([1.0], 0.0)
    streams = [Stream(0, 0, "selection"), Stream(1, 0, "selection"), Stream(0, 1, "selection")]
    streams.append(Stream(0, 0, "estimation"))
    counts = [class_counts(network, torch.zeros(1), Gaussian(1.0), 10_000, stream)[0] for stream in streams]
    assert len(set(counts)) == len(counts)
    again = class_counts(network, torch.zeros(1), Gaussian(1.0), 10_000, streams[0])[0]
    assert again == counts[0]


def test_frequencies_match_the_linear_classifier() -> None:
    # w x + b > 0 for x ~ N(x0, s^2 I) has probability Phi((w x0 + b) / (s |w|))
    network, x = linear_network([3.0, -4.0], 0.5), torch.tensor([0.4, 0.1])
    expected = norm.cdf((3 * 0.4 - 4 * 0.1 + 0.5) / (0.7 * 5))
    n = 100_000
    counts = class_counts(network, x, Gaussian(0.7), n, Stream(0, 0, "estimation"))
    assert abs(counts[0] / n - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_nothing_outside_changes(conv_network: Network) -> None:
    x = torch.rand(3, 28, 28)
    before, state = x.clone(), torch.get_rng_state()
    class_counts(conv_network, x, Gaussian(0.5), 50, Stream(0, 0, "estimation"))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_bad_input(conv_network: Network) -> None:
    stream = Stream(0, 0, "estimation")
    with pytest.raises(InvalidInput, match="expects"):
        class_counts(conv_network, torch.rand(1, 28, 28), Gaussian(0.5), 5, stream)
    with pytest.raises(InvalidInput, match="at least 1"):
        class_counts(conv_network, torch.rand(3, 28, 28), Gaussian(0.5), 0, stream)
    with pytest.raises(InvalidInput, match="selection or estimation"):
        Stream(0, 0, "other")  # type: ignore[arg-type]

    class Nan(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.sum(1), x.sum(1).log()], dim=1)

    with pytest.raises(InvalidInput, match="NaN"):
        class_counts(Network("nan", Nan(), (2,), 2, ""), torch.zeros(2), Gaussian(1.0), 20, stream)
