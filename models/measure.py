"""What a card records about a network: counts of test inputs that pass, each with all settings it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sokbench.core.network import Network
from sokbench.core.problem import Ball
from sokbench.core.registry import component
from verifiers.attacks.descent import attacked_margins
from verifiers.bounds import margin_bounds
from verifiers.graph import graph_of

from .cards import Measurement
from .training.recipe import Adversarial, CrownIbp, Gaussian, Objective, Smoothing

_CHUNK = 100
# full CROWN is left to the harness: on a convolutional network it costs more than all of these together
_PLANS = ("ibp", "crown_ibp")
_PGD_STEPS, _PGD_STEP, _SEED, _NOISE_DRAWS = 100, 0.02, 0, 10


def measure(
    network: Network, objective: Objective, epsilon: float | None, x: Tensor, labels: Tensor
) -> list[Measurement]:
    """Clean and PGD accuracy and verified accuracies at l_inf radius `epsilon`, and under noise for noisy training.

    x: test images (N, C, H, W); labels: (N,). The trained radius replaces `epsilon` where there is one; None leaves
    attack and bounds out, for networks that are only meant to be smoothed.
    """
    if isinstance(objective, (Adversarial, CrownIbp)):
        epsilon = objective.epsilon
    found = [Measurement("clean", clean_correct(network, x, labels), len(x))]
    if epsilon is not None:
        found.append(pgd(network, epsilon, x, labels))
        found += [verified(network, epsilon, x, labels, plan) for plan in _PLANS]
    if isinstance(objective, Gaussian):
        found.append(noisy(network, objective.sigma, x, labels))
    if isinstance(objective, Smoothing):
        found.append(noisy_by(network, objective.noise, x, labels))
    return found


def _chunks(x: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(x, _CHUNK), torch.split(labels, _CHUNK), strict=True)


def predictions(network: Network, x: Tensor) -> Tensor:
    """The class (N,) of each input."""
    with torch.no_grad():
        return torch.cat([network(part).argmax(dim=1) for part in torch.split(x, _CHUNK)])


def clean_correct(network: Network, x: Tensor, labels: Tensor) -> int:
    """How many inputs are classified correctly."""
    return int((predictions(network, x) == labels).sum())


def pgd(network: Network, epsilon: float, x: Tensor, labels: Tensor) -> Measurement:
    """Accuracy under PGD on the margin from the input itself, with the steps of the SoK's evaluation."""
    ball = Ball("linf", epsilon, 0.0, 1.0)
    correct = 0
    for part, truth in _chunks(x, labels):
        _, margins = attacked_margins(network, part, truth, ball, [_PGD_STEP * epsilon] * _PGD_STEPS, 1, _SEED)
        correct += int((margins > 0).sum())
    settings: dict[str, float | int | str] = {
        "norm": "linf",
        "epsilon": epsilon,
        "steps": _PGD_STEPS,
        "relative_step": _PGD_STEP,
        "restarts": 1,
        "seed": _SEED,
    }
    return Measurement("pgd", correct, len(x), settings)


def verified(network: Network, epsilon: float, x: Tensor, labels: Tensor, plan: str) -> Measurement:
    """Accuracy certified by sound bounds of a plan of the bound engine."""
    ball = Ball("linf", epsilon, 0.0, 1.0)
    graph = graph_of(network)
    correct = 0
    for part, truth in _chunks(x, labels):
        bounds = margin_bounds(graph, part, truth, ball, plan)
        correct += int((bounds > 0).all(dim=1).sum())
    return Measurement(plan, correct, len(x), {"norm": "linf", "epsilon": epsilon})


def noisy(network: Network, sigma: float, x: Tensor, labels: Tensor) -> Measurement:
    """Accuracy on Gaussian noise of the trained strength, several draws per input counted one by one."""
    generator = torch.Generator().manual_seed(_SEED)
    correct = 0
    for _ in range(_NOISE_DRAWS):
        correct += clean_correct(network, x + sigma * torch.randn(x.shape, generator=generator), labels)
    settings: dict[str, float | int | str] = {"sigma": sigma, "draws": _NOISE_DRAWS, "seed": _SEED}
    return Measurement("gaussian", correct, len(x) * _NOISE_DRAWS, settings)


def noisy_by(network: Network, spec: Mapping[str, float | int | str], x: Tensor, labels: Tensor) -> Measurement:
    """The same for any noise, one draw per input."""
    noise = component("randomized_smoothing.noise").from_spec(spec)
    drawn = component("randomized_smoothing.training.base").noisy_copies
    generator = torch.Generator().manual_seed(_SEED)
    correct = sum(
        clean_correct(network, drawn(noise, part, 1, generator)[0], truth) for part, truth in _chunks(x, labels)
    )
    return Measurement(str(spec["kind"]), correct, len(x), {**spec, "draws": 1, "seed": _SEED})
