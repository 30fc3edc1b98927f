from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from randomized_smoothing.noise import NOISES, Gaussian, Noise, from_spec
from sokbench.core.errors import InvalidInput


@pytest.mark.parametrize("noise", [Gaussian(0.25), Gaussian(1)], ids=repr)
def test_spec_round_trip(noise: Noise) -> None:
    assert from_spec(noise.to_spec()) == noise
    assert NOISES[noise.kind] is type(noise)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, "0.5", None, True])
def test_sigma_must_be_positive(sigma: Any) -> None:
    with pytest.raises(InvalidInput, match="sigma"):
        Gaussian(sigma)


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


def test_gaussian_samples_have_its_moments_around_the_input() -> None:
    x = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
    out = torch.empty(200_000, 2, 2)
    Gaussian(0.3).sample_(out, x, torch.Generator().manual_seed(1))
    # five standard errors of the mean (0.3 / sqrt n) and of the standard deviation (0.3 / sqrt 2n)
    assert torch.allclose(out.mean(0), x, atol=5 * 0.3 / math.sqrt(200_000))
    assert torch.allclose(out.std(0), torch.full((2, 2), 0.3), atol=5 * 0.3 / math.sqrt(400_000))
    centred = (out - x).flatten(1)
    assert torch.allclose(torch.corrcoef(centred.T), torch.eye(4), atol=5 / math.sqrt(200_000))
