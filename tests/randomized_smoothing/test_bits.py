"""Numbers made of random words follow their laws, into the tails, and belong to their generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from randomized_smoothing.bits import fill_laplace, fill_normal, fill_uniform, words

LAWS: list[tuple[Any, Any]] = [
    (fill_normal, stats.norm(scale=0.3)),
    (fill_laplace, stats.laplace(scale=0.3)),
    (fill_uniform, stats.uniform(-0.3, 0.6)),
]


def drawn(fill: Any, count: int, seed: int = 0) -> Any:
    out = torch.empty(count)
    fill(out, 0.3, torch.Generator().manual_seed(seed))
    return out.double().numpy()


@pytest.mark.parametrize(("fill", "law"), LAWS)
def test_laws(fill: Any, law: Any) -> None:
    x = drawn(fill, 1_000_001)
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    for q in (1e-5, 1e-4, 1e-3, 0.1):
        # counts beyond the quantiles, on both sides, within 5 deviations of what is expected
        expected = len(x) * q
        assert abs((x < law.ppf(q)).sum() - expected) < 5 * np.sqrt(expected)
        assert abs((x > law.isf(q)).sum() - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize(("fill", "law"), LAWS)
def test_numbers_are_independent(fill: Any, law: Any) -> None:
    """Neighbours, and the two numbers of a pair, in value and in size."""
    x = drawn(fill, 400_000)
    for a, b in ((x[:-1], x[1:]), (x[:200_000], x[200_000:]), (abs(x[:200_000]), abs(x[200_000:]))):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


@pytest.mark.parametrize("fill", [fill_normal, fill_laplace, fill_uniform])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_sizes_and_seeds(fill: Any, count: int) -> None:
    x = drawn(fill, count)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x, drawn(fill, count))
    assert (x != drawn(fill, count, seed=1)).any()
    # a generator goes on: two draws from one differ
    generator = torch.Generator().manual_seed(0)
    assert (words(4, generator) != words(4, generator)).any()


def test_the_extremes_stay_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of all zeros and all ones: the largest numbers there are."""
    for word in (0, 2**64 - 1, 2**63, 2**63 - 1):
        monkeypatch.setattr(
            "randomized_smoothing.bits.words", lambda count, generator, w=word: np.full(count, w, dtype=np.uint64)
        )
        for fill, largest in ((fill_normal, 6.7), (fill_laplace, 44.4), (fill_uniform, 1.0)):
            assert np.abs(drawn(fill, 10)).max() <= 0.3 * largest * (1 + 1e-6)
