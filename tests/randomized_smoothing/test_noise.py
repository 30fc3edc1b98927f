from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import sokbench
from randomized_smoothing.noise import (
    EXAMPLES,
    NOISES,
    Ablation,
    DiscreteGaussian,
    Gaussian,
    GeneralizedGaussian,
    Laplace,
    LinfExponential,
    Noise,
    Pareto,
    Replacement,
    Splitting,
    Uniform,
    from_spec,
)
from randomized_smoothing.noise_gaussian import _thresholds
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


def marginal_of_linf_exponential(scale: float, dimension: int) -> Any:
    """Distribution function of one coordinate: uniform on [-r, r] with chance 1 - 1/d, at an end of it otherwise."""
    radius = stats.gamma(dimension, scale=scale)

    def cdf(z: Any) -> Any:
        size = np.abs(np.asarray(z, dtype=float))
        # P[|z| > s]: E[(1 - s/r) over r > s] (d - 1)/d + P[r > s] / d, and E[1/r; r > s] = P[r' > s] / ((d - 1) scale)
        mean_inverse = stats.gamma(dimension - 1, scale=scale).sf(size) / ((dimension - 1) * scale)
        beyond = (dimension - 1) / dimension * (radius.sf(size) - size * mean_inverse) + radius.sf(size) / dimension
        return np.where(np.asarray(z) < 0, beyond / 2, 1 - beyond / 2)

    return cdf


@pytest.mark.parametrize(
    ("noise", "cdf"),
    [
        (GeneralizedGaussian(0.3, 1.5), stats.gennorm(1.5, scale=0.3).cdf),
        (Pareto(0.3, 4.0), lambda z: 0.5 + 0.5 * np.sign(z) * stats.lomax(4.0, scale=0.3).cdf(np.abs(z))),
        (LinfExponential(0.3, 6), marginal_of_linf_exponential(0.3, 6)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Noise) else "law",
)
def test_other_shapes_follow_their_law(noise: Noise, cdf: Any) -> None:
    x = torch.tensor([[0.0, 1.0, 0.2], [-2.0, 0.5, 0.1]])
    out = torch.empty(20_000, 2, 3)
    noise.sample_(out, x, torch.Generator().manual_seed(1))
    centred = (out.double() - x).flatten(1)
    for coordinate in centred.T:
        assert stats.kstest(coordinate.numpy(), cdf).pvalue > 1e-4
    if isinstance(noise, LinfExponential):
        largest = centred.abs().amax(dim=1)
        assert stats.kstest(largest.numpy(), stats.gamma(6, scale=0.3).cdf).pvalue > 1e-3
    else:
        size = centred.abs().log()
        assert torch.allclose(torch.corrcoef(size.T), torch.eye(6, dtype=torch.float64), atol=0.04)


def test_discrete_noise_is_rounded_gaussian_noise() -> None:
    noise, x = DiscreteGaussian(0.02, 255), torch.tensor([0.0, 10 / 255, 1.0])
    out = torch.empty(100_000, 3)
    noise.sample_(out, x, torch.Generator().manual_seed(1))
    level = out.double() * 255
    assert torch.equal(out, (level.round() / 255).float())  # each value is the nearest float of its level
    steps = (level - x.double() * 255).round()
    edges = np.arange(-12.5, 13)
    expected = np.diff(stats.norm.cdf(edges, scale=0.02 * 255))
    found = np.histogram(steps.numpy().ravel(), edges)[0] / steps.numel()
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.08 / 300_000))


@pytest.mark.parametrize(("sigma", "steps"), [(0.02, 255), (0.5, 255), (1.0, 2), (1e-4, 3)])
def test_discrete_thresholds_to_63_bits(sigma: float, steps: int) -> None:
    thresholds = _thresholds(sigma, steps)
    assert list(thresholds) == sorted(thresholds)
    assert thresholds[0] > 0
    assert thresholds[-1] < 2**63
    half = len(thresholds) // 2
    with mpmath.workdps(40):
        for k in (0, half // 3, half - 1, half, len(thresholds) - 1):
            border = (k - half + mpmath.mpf(1) / 2) / (mpmath.mpf(sigma) * steps)
            assert abs(mpmath.mpf(thresholds[k]) / 2**63 - mpmath.ncdf(border)) < mpmath.mpf(2) ** -52


def test_certificates_pay_for_the_sampling_error_of_discrete_noise() -> None:
    exact, noise = Gaussian(0.5), DiscreteGaussian(0.5, 255)
    assert 0 < noise.sampling_error < 1e-6
    assert 0 < Replacement(0.5, 256).sampling_error < 1e-6
    assert 0 < Ablation(10, 1024, 0.5).sampling_error < 1e-6
    for slug in ("neyman_pearson", "renyi", "pixel_dp", "f_divergence", "hockey_stick", "linf_from_l2"):
        certifier, p = sokbench.certifier(slug), np.array([0.6, 0.99])
        paid, free = certifier.radius(p, None, noise), certifier.radius(p, None, exact)
        assert (paid < free).all()
        np.testing.assert_allclose(paid, free, rtol=1e-4)
    certain = float(sokbench.certifier("neyman_pearson").radius(1.0, None, noise))
    assert certain < 0.5 * stats.norm.isf(noise.sampling_error)


@pytest.mark.parametrize(
    ("noise", "x", "message"),
    [
        (DiscreteGaussian(0.5, 255), [0.001], "multiples of 1/255"),
        (Replacement(0.6, 2), [0.5], "multiples of 1/1"),
        (Replacement(0.5, 3), [1.5], r"coordinates in \[0, 1\]"),
        (Splitting(4, 10), [0.05], "multiples of 1/10"),
        (LinfExponential(0.5, 4), [0.0], "4 coordinates"),
        (Ablation(1, 4, 0.5), [0.0], "4 pixels"),
    ],
)
def test_noises_refuse_inputs_they_are_not_made_for(noise: Noise, x: list[float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        noise.sample_(torch.empty(3, 1), torch.tensor(x), torch.Generator())


@pytest.mark.parametrize(
    ("cls", "parameters", "message"),
    [
        (DiscreteGaussian, (0.5, 0), "steps"),
        (DiscreteGaussian, (10.0, 255), "sigma \\* steps"),
        (GeneralizedGaussian, (0.5, 0.5), "at least 1"),
        (Pareto, (0.5, 0.0), "shape"),
        (LinfExponential, (0.5, 0), "dimension"),
        (Replacement, (0.5, 1), "levels"),
        (Replacement, (1.0, 2), "keep"),
        (Replacement, (0.1, 4), "keep"),
        (Ablation, (5, 4, 0.5), "pixels"),
        (Ablation, (5, 4, math.nan), "pixels"),
        (Ablation, (4, 4, math.nan), "fill"),
        (Splitting, (1, 255), "levels"),
    ],
)
def test_bad_parameters(cls: Any, parameters: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        cls(*parameters)
