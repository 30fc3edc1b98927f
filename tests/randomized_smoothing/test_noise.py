from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats

from randomized_smoothing.noise import EXAMPLES, NOISES, Gaussian, Laplace, Noise, Uniform, from_spec
from sokbench.core.errors import InvalidInput


@pytest.mark.parametrize("noise", [*EXAMPLES, Gaussian(1)], ids=repr)
def test_spec_round_trip(noise: Noise) -> None:
    assert from_spec(noise.to_spec()) == noise
    assert NOISES[noise.kind] is type(noise)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "0.5", None, True])
@pytest.mark.parametrize("cls", [Gaussian, Laplace, Uniform])
def test_parameters_must_be_positive(cls: Any, value: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a finite number > 0"):
        cls(value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "needs a kind"),
        ({"kind": "gausian", "sigma": 1.0}, "did you mean gaussian"),
        ({"kind": "gaussian"}, "takes sigma, but got nothing"),
        ({"kind": "gaussian", "sigma": 1.0, "mean": 0.0}, "but got mean, sigma"),
        ({"kind": "gaussian", "sigma": -1.0}, "must be a finite number > 0"),
    ],
)
def test_bad_specs_are_one_clear_line(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        (Gaussian(0.3), stats.norm(scale=0.3)),
        (Laplace(0.3), stats.laplace(scale=0.3)),
        (Uniform(0.3), stats.uniform(loc=-0.3, scale=0.6)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Noise) else "law",
)
def test_samples_follow_their_law_around_the_input(noise: Noise, law: Any) -> None:
    x = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
    out = torch.empty(50_000, 2, 2)
    noise.sample_(out, x, torch.Generator().manual_seed(1))
    centred = (out.double() - x).flatten(1)
    # float32 rounding of x + z moves the empirical distribution by far less than the test can see
    assert stats.kstest(centred.flatten().numpy(), law.cdf).pvalue > 1e-3
    assert float(centred.std()) == pytest.approx(law.std(), rel=0.02)
    assert torch.allclose(torch.corrcoef(centred.T), torch.eye(4, dtype=torch.float64), atol=5 / math.sqrt(50_000))
