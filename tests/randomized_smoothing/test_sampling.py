from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from randomized_smoothing import sampling
from randomized_smoothing.batches import BLOCK_VALUES, Batch, drawn_ahead
from randomized_smoothing.noise import Gaussian
from randomized_smoothing.sampling import Request, Stream, class_counts, count_classes
from sokbench.core.errors import InvalidInput
from sokbench.core.network import Network, network_from_module


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


def test_packed_requests_give_what_each_gives_alone(conv_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several images, stages and ranges in one call: the same counts as one by one, in any order and any batches."""
    monkeypatch.setattr(sampling, "BYTES", 2**19)
    images, noise = torch.rand(3, 3, 28, 28), Gaussian(0.5)
    requests = [
        Request(images[0], Stream(3, 0, "selection"), 0, 10),
        Request(images[1], Stream(3, 1, "estimation"), 0, 1),
        Request(images[1], Stream(3, 1, "estimation"), 1, 100),
        Request(images[2], Stream(3, 2, "estimation"), 13, 77),
        Request(images[2], Stream(3, 2, "estimation"), 0, 13),
    ]
    counts = count_classes(conv_network, noise, requests)
    assert counts.sum(axis=1).tolist() == [10, 1, 99, 64, 13]
    np.testing.assert_array_equal(count_classes(conv_network, noise, requests[::-1]), counts[::-1])
    np.testing.assert_array_equal(counts[0], class_counts(conv_network, images[0], noise, 10, requests[0].stream))
    # what was cut off goes on where it stopped
    whole = class_counts(conv_network, images[1], noise, 100, requests[1].stream)
    np.testing.assert_array_equal(counts[1] + counts[2], whole)
    whole = class_counts(conv_network, images[2], noise, 77, requests[3].stream)
    np.testing.assert_array_equal(counts[3] + counts[4], whole)
    assert count_classes(conv_network, noise, []).shape == (0, 5)


@pytest.mark.parametrize("rows", [1, 7, 100, 131, 262, 5000])
def test_batches_are_full_and_hold_every_sample_once(rows: int) -> None:
    """500 values per sample: blocks of 131. Batches of any size hold the same samples in the same order."""
    requests = [
        Request(torch.full((500,), float(owner)), Stream(0, owner, "estimation"), start, stop)
        for owner, (start, stop) in enumerate([(0, 131), (5, 6), (130, 400), (0, 50)])
    ]
    batches = [Batch(b.rows.clone(), b.owners.clone()) for b in drawn_ahead(requests, Gaussian(1.0), rows)]
    assert {len(batch.rows) for batch in batches[:-1]} <= {rows}
    alone = [b.rows.clone() for request in requests for b in drawn_ahead([request], Gaussian(1.0), 10_000)]
    assert torch.equal(torch.cat([batch.rows for batch in batches]), torch.cat(alone))
    assert torch.cat([batch.owners for batch in batches]).bincount().tolist() == [131, 1, 270, 50]


def test_a_batch_stays_valid_while_the_next_is_drawn() -> None:
    import time

    request = Request(torch.zeros(3000), Stream(0, 0, "estimation"), 0, 300)
    for batch in drawn_ahead([request], Gaussian(1.0), 50):
        before = batch.rows.clone()
        time.sleep(0.005)
        assert torch.equal(batch.rows, before)


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
            logits: torch.Tensor = self.layer(x.double())
            return logits.to(x.dtype)

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
