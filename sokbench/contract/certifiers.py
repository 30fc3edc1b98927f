"""Checks of smoothing certifiers: the closed form, and the statistics that feed it."""

from __future__ import annotations

from math import comb
from typing import Any, Final

import numpy as np
import torch

from ..core.certifier import ABSTAIN, Certifier
from ..core.errors import Unsupported
from .noises import noises_of

_P: Final = np.concatenate([[0.0, 0.1, 0.5], np.linspace(0.5, 1.0, 13)[1:-1], [1 - 1e-6, 1 - 1e-12]])
_SAMPLES: Final = 200_000


def some_noise_is_supported(certifier: Certifier) -> list[str]:
    supported = noises_of(certifier)
    failures = [] if supported else ["radius raises Unsupported for every noise there is"]
    try:
        certifier.radius(0.9, None, object())
    except Unsupported:
        return failures
    return [*failures, "radius answers for a noise that is none; raise Unsupported"]


def radii_are_never_negative(certifier: Certifier) -> list[str]:
    failures = []
    for noise in noises_of(certifier):
        p, q = np.meshgrid(_P, _P, indexing="ij")
        radius = certifier.radius(p, q, noise)
        if radius.shape != p.shape:
            failures.append(f"{noise}: arrays of shape {p.shape} give a radius of shape {radius.shape}")
            continue
        if bool((~(radius >= 0)).any()):
            failures.append(f"{noise}: {_first('negative or NaN', ~(radius >= 0), p, q, radius)}")
        lost = (p <= q) & (radius != 0)
        if bool(lost.any()):
            failures.append(f"{noise}: {_first('certified although p <= q', lost, p, q, radius)}")
    return failures


def radii_grow_with_p_and_fall_with_q(certifier: Certifier) -> list[str]:
    failures = []
    for noise in noises_of(certifier):
        p, q = np.meshgrid(_P, _P, indexing="ij")
        radius = certifier.radius(p, q, noise)
        # a rounding that is safe at every point may still wobble in the last digits
        slack = 1e-9 * (1 + np.minimum(radius, 1e9))
        if bool((radius[1:] < radius[:-1] - slack[:-1]).any()):
            failures.append(f"{noise}: the radius falls somewhere as p grows")
        if bool((radius[:, 1:] > radius[:, :-1] + slack[:, :-1]).any()):
            failures.append(f"{noise}: the radius grows somewhere as q grows")
        alone, both = certifier.radius(_P, None, noise), certifier.radius(_P, 1 - _P, noise)
        if not np.allclose(alone, both, rtol=1e-9, atol=1e-12):
            failures.append(f"{noise}: q=None is not q = 1 - p")
    return failures


def arrays_broadcast(certifier: Certifier) -> list[str]:
    failures = []
    for noise in noises_of(certifier):
        p, q = np.array([[0.6], [0.9]]), np.array([0.05, 0.1, 0.3])
        table = certifier.radius(p, q, noise)
        if np.shape(table) != (2, 3):
            failures.append(f"{noise}: p (2, 1) and q (3,) give shape {np.shape(table)}, not (2, 3)")
            continue
        singles = [[float(certifier.radius(float(a[0]), float(b), noise)) for b in q] for a in p]
        if not np.allclose(table, singles, rtol=1e-12):
            failures.append(f"{noise}: an array gives other radii than its numbers one by one")
    return failures


def radii_never_beat_a_half_space(certifier: Certifier) -> list[str]:
    """No certificate from p alone survives the classifier that looks at one coordinate only.

    Its class A is z_1 <= t with P[A] = p. Moving the input by r along that coordinate, which has length r in every
    norm, leaves A with one half at r = the p-quantile of the noise; samples of the noise tell where that is. Only noise
    that is added to the input moves with it.
    """
    failures = []
    for noise in noises_of(certifier):
        if not noise.additive or "l0" in certifier.info.norms:
            continue
        coordinate = np.sort(_coordinate_of(noise))
        for p in (0.6, 0.8, 0.9, 0.99):
            # order statistics that enclose the quantile except with a chance below 1e-6
            rank = int(np.ceil(_SAMPLES * p + 5 * np.sqrt(_SAMPLES * p * (1 - p))))
            radius = float(certifier.radius(p, None, noise))
            if radius > coordinate[min(rank, _SAMPLES - 1)]:
                failures.append(f"{noise}, p = {p}: the radius {radius:.6g} is refuted by a half-space classifier")
    return failures


def counts_decide_as_they_should(certifier: Certifier) -> list[str]:
    failures = []
    for noise in noises_of(certifier):
        clear = certifier.certify(np.array([1, 99, 0]), np.array([2, 997, 1]), noise, 0.001)
        if clear.prediction != 1 or not clear.radius > 0:
            failures.append(f"{noise}: 997 of 1000 samples for class 1 give {clear}")
        close = certifier.certify(np.array([50, 50]), np.array([500, 500]), noise, 0.001)
        if close.prediction != ABSTAIN or close.radius != 0:
            failures.append(f"{noise}: 500 of 1000 samples do not make it abstain with radius 0, but {close}")
        turned = certifier.certify(np.array([99, 1]), np.array([1, 999]), noise, 0.001)
        if turned.prediction == 1:
            failures.append(f"{noise}: the estimation sample chose the class; only the selection sample may")
    return failures


def confidence_is_kept(certifier: Certifier) -> list[str]:
    """Over all outcomes of n samples, p exceeds the true probability with a chance of at most alpha."""
    n, alpha = 40, 0.05
    failures: list[str] = []
    if certifier.info.deterministic:
        return failures  # its counts are no samples: every form that the noise takes is evaluated
    for noise in noises_of(certifier):
        selection = np.array([10, 0])
        bounds = np.array([certifier.certify(selection, np.array([k, n - k]), noise, alpha).p for k in range(n + 1)])
        for truth in (0.3, 0.6, 0.9, 0.99):
            chances = np.array([comb(n, k) * truth**k * (1 - truth) ** (n - k) for k in range(n + 1)])
            wrong = float(chances[bounds > truth].sum())
            if wrong > alpha:
                failures.append(f"{noise}: p exceeds a true probability of {truth} in {wrong:.3f} > alpha = {alpha}")
    return failures


def _coordinate_of(noise: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Samples of one coordinate of the noise."""
    size = getattr(noise, "dimension", 1)  # of inputs, where the noise depends on it
    out = torch.empty(_SAMPLES, size)
    noise.sample_(out, torch.zeros(size), torch.Generator().manual_seed(0))
    return out[:, 0].double().numpy()


def _first(what: str, where: Any, p: Any, q: Any, radius: Any) -> str:
    index = tuple(int(axis[0]) for axis in np.nonzero(where))
    return f"{what} at p = {p[index]:.6g}, q = {q[index]:.6g}: radius {radius[index]:.6g}"
