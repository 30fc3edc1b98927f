"""Chunks of rows: every wanted entry once, in groups that share what they look up; less memory, the same bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import convolutional, dense, graph_for
from verifiers.bounds import margin_bounds, preactivation_bounds, propagation
from verifiers.bounds.backward import substitute
from verifiers.bounds.plans import PLANS, Plan
from verifiers.bounds.relaxations.relu import ADAPTIVE
from verifiers.bounds.targets import Target


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    at_once=st.integers(1, 200),
    on_windows=st.booleans(),
)
def test_every_entry_once(seed: int, batch: int, share: float, at_once: int, on_windows: bool) -> None:
    graph = graph_for(convolutional(seed=0), (2, 6, 6)) if on_windows else graph_for(dense([4, 40, 3], 0), (4,))
    index = graph.nodes[graph.relus[1]].inputs[0] if on_windows else graph.nodes[graph.relus[0]].inputs[0]
    target = Target.of(graph, index, True)
    assert (target.patches is not None) == on_windows
    shape = graph.nodes[index].shape
    wanted = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(seed)).flatten(1) < share
    seen = torch.zeros_like(wanted, dtype=torch.int)
    for chunk in target.chunks(wanted, at_once):
        assert chunk.samples.shape == chunk.entries.shape
        assert 0 < chunk.entries.numel() <= max(at_once, chunk.entries.shape[1])
        seen[chunk.samples.flatten(), chunk.entries.flatten()] += 1
        owner = torch.arange(batch)[chunk.owner]
        assert bool((chunk.samples == owner[:, None]).all())
        if on_windows:
            places = chunk.entries % (shape[1] * shape[2])
            assert bool((places == places[:, :1]).all())
    assert torch.equal(seen, wanted.int())


@pytest.mark.parametrize("batch", [1, 3])
def test_chunk_sizes_change_nothing(batch: int) -> None:
    module = convolutional(seed=3)
    graph, ball = graph_for(module, (2, 6, 6)), Ball("linf", 0.1)
    x = torch.rand(batch, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    for chunk_bytes in (1, 1 << 12, 1 << 16):
        small = preactivation_bounds(graph, x, ball, Plan(ADAPTIVE, intermediate=True, chunk_bytes=chunk_bytes))
        for (low, up), (lower, upper) in zip(small, preactivation_bounds(graph, x, ball, "crown"), strict=True):
            assert torch.allclose(low, lower, rtol=1e-11, atol=1e-11)
            assert torch.allclose(up, upper, rtol=1e-11, atol=1e-11)


def test_a_batch_is_its_inputs_one_by_one() -> None:
    """Alone, an input's dense layers are computed without inactive neurons; few rows of several inputs are not."""
    module = dense([6, 40, 30, 30, 4], seed=5)
    graph, ball = graph_for(module, (6,)), Ball("linf", 0.15)
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    for plan in PLANS:
        together = margin_bounds(graph, x, labels, ball, plan)
        alone = torch.cat([margin_bounds(graph, x[i : i + 1], labels[i : i + 1], ball, plan) for i in range(5)])
        assert torch.allclose(together, alone, rtol=1e-9, atol=1e-9), plan


def starved(limit: int, error: Exception) -> object:
    def bounded(bounds: object, start: object, owner: object, sign: object, relaxation: object) -> Tensor:
        if start.values.shape[1:3].numel() > limit:  # type: ignore[attr-defined]
            raise error
        return substitute(bounds, start, owner, sign, relaxation)  # type: ignore[arg-type]

    return bounded


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
@pytest.mark.parametrize("batch", [1, 2])
def test_less_memory_gives_smaller_chunks(error: Exception, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, ball = graph_for(convolutional(seed=3), (2, 6, 6)), Ball("linf", 0.1)
    x = torch.rand(batch, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    wanted = preactivation_bounds(graph, x, ball)
    monkeypatch.setattr(propagation, "substitute", starved(3, error))
    for (low, up), (lower, upper) in zip(preactivation_bounds(graph, x, ball), wanted, strict=True):
        assert torch.allclose(low, lower, rtol=1e-11, atol=1e-11)
        assert torch.allclose(up, upper, rtol=1e-11, atol=1e-11)


def test_a_row_that_does_not_fit_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = graph_for(dense([3, 20, 20, 2], 0), (3,)), torch.rand(1, 3, dtype=torch.float64)
    monkeypatch.setattr(propagation, "substitute", starved(0, MemoryError()))
    with pytest.raises(MemoryError, match="one row"):
        preactivation_bounds(graph, x, Ball("linf", 0.5))


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = graph_for(dense([3, 20, 20, 2], 0), (3,)), torch.rand(1, 3, dtype=torch.float64)
    monkeypatch.setattr(propagation, "substitute", starved(0, RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        preactivation_bounds(graph, x, Ball("linf", 0.5))


def test_the_deadline_is_looked_at_between_chunks() -> None:
    class Ticking(Deadline):
        """Passes after a few looks."""

        looks = 0

        def expired(self) -> bool:
            Ticking.looks += 1
            return Ticking.looks > 3

    module = nn.Sequential(dense([4, 30, 30, 30, 3], 2), nn.ReLU())
    graph, x = graph_for(module, (4,)), torch.rand(2, 4, dtype=torch.float64)
    plan = Plan(ADAPTIVE, intermediate=True, chunk_bytes=1)
    with pytest.raises(OutOfTime) as caught:
        margin_bounds(graph, x, torch.tensor([0, 1]), Ball("linf", 0.3), plan, Ticking())
    assert caught.value.margins is not None
    full = margin_bounds(graph, x, torch.tensor([0, 1]), Ball("linf", 0.3), "crown")
    assert bool((caught.value.margins <= full + 1e-12).all())
