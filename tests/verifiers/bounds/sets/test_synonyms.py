"""Word substitutions: exact against the dynamic programme of the paper and against all sentences."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sokbench.core.errors import InvalidInput
from tests.verifiers.bounds.nets import graph_for
from verifiers.bounds import margin_bounds
from verifiers.bounds.sets.synonyms import Synonyms

BOTH = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)


def sentences(seed: int, positions: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """x (1, T, 2), candidates (1, T, 3, 2) and which of them exist; NaN where they do not."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((1, positions, 2), dtype=torch.float64, generator=generator)
    candidates = x[:, :, None] + torch.randn((1, positions, 3, 2), dtype=torch.float64, generator=generator)
    allowed = torch.rand((1, positions, 3), generator=generator) < 0.7
    return x, torch.where(allowed[..., None], candidates, torch.nan), allowed


def all_sentences(x: Tensor, candidates: Tensor, allowed: Tensor, budget: int) -> Tensor:
    words = [[x[0, t], *candidates[0, t][allowed[0, t]]] for t in range(x.shape[1])]
    found = []
    for choice in itertools.product(*(range(len(options)) for options in words)):
        if sum(place > 0 for place in choice) <= budget:
            found.append(torch.stack([options[place] for options, place in zip(words, choice, strict=True)]))
    return torch.stack(found)


def dynamic_programme(row: Tensor, x: Tensor, candidates: Tensor, allowed: Tensor, budget: int) -> float:
    """min over j <= budget of g(n, j), papers/001 appendix B.2, for row and x (T, D)."""
    table = {0: 0.0}
    for t in range(len(x)):
        kept = float(row[t] @ x[t])
        replaced = min((float(row[t] @ word) for word in candidates[t][allowed[t]]), default=float("inf"))
        table = {
            j: min(table.get(j, float("inf")) + kept, table.get(j - 1, float("inf")) + replaced)
            for j in range(min(t + 1, budget) + 1)
        }
    return min(table.values())


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), budget=st.integers(0, 5))
def test_extrema_are_exact(seed: int, budget: int) -> None:
    x, candidates, allowed = sentences(seed)
    rows = torch.randn((2, 1, 3, 4, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    inputs, points = Synonyms(x, candidates, allowed, budget), all_sentences(x, candidates, allowed, budget)
    found = inputs.concretize(rows, BOTH, slice(0, 1))
    values = torch.einsum("sgktd,ptd->sgkp", rows, points)
    assert torch.allclose(found[0], values[0].amin(dim=2), atol=1e-12)
    assert torch.allclose(found[1], values[1].amax(dim=2), atol=1e-12)
    for k in range(3):
        expected = dynamic_programme(rows[0, 0, k], x[0], candidates[0], allowed[0], budget)
        assert found[0, 0, k].item() == pytest.approx(expected, abs=1e-12)
    lower, upper = inputs.interval()
    assert bool((lower <= points).all())
    assert bool((upper >= points).all())
    assert float(inputs.size()) >= float(points.abs().max())


def test_margins_hold_for_every_sentence() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 2))
    module = module.double()
    x, candidates, allowed = sentences(7)
    graph = graph_for(module, (4, 2))
    for budget in (1, 2, 4):
        inputs = Synonyms(x, 0.3 * candidates + 0.7 * x[:, :, None], allowed, budget)
        points = all_sentences(x, 0.3 * candidates + 0.7 * x[:, :, None], allowed, budget)
        found = margin_bounds(graph, x, torch.tensor([0]), inputs)[0, 1]
        logits = module(points).detach()
        least = float((logits[:, 0] - logits[:, 1]).min())
        assert least - 0.5 <= found.item() <= least


def test_what_is_refused() -> None:
    x, candidates, allowed = sentences(0)
    with pytest.raises(InvalidInput, match="candidates of shape"):
        Synonyms(x, candidates[:, :3], allowed, 1)
    with pytest.raises(InvalidInput, match="allowed has shape"):
        Synonyms(x, candidates, allowed[..., :2], 1)
    with pytest.raises(InvalidInput, match="NaN"):
        Synonyms(x, candidates, torch.ones_like(allowed), 1)
    with pytest.raises(InvalidInput, match="budget"):
        Synonyms(x, candidates, allowed, -1)
