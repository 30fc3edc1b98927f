"""What training minimizes, one function per objective of `recipe`."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sokbench.core.errors import InvalidInput
from sokbench.core.problem import Ball
from sokbench.core.registry import component
from verifiers.attacks.descent import descend, negative_cross_entropy
from verifiers.bounds.training import crown_ibp_margins, ibp_margins
from verifiers.graph import Graph

from .recipe import Adversarial, Clean, CrownIbp, Gaussian, Objective, Smoothing


def epsilon_at(objective: Objective, epoch: float) -> float:
    """The radius trained for after `epoch` epochs (fractions count batches); 0 for objectives without one."""
    match objective:
        case Adversarial(epsilon=epsilon, warmup=warmup):
            return epsilon * _ramp(epoch, 0.0, warmup)
        case CrownIbp(epsilon=epsilon, ramp_start=start, ramp_length=length):
            return epsilon * _ramp(epoch, start, length)
        case _:
            return 0.0


def _ramp(epoch: float, start: float, length: float) -> float:
    if epoch >= start + length:
        return 1.0
    return 0.0 if epoch <= start else (epoch - start) / length


def loss_and_logits(
    objective: Objective,
    module: nn.Module,
    graph: Graph | None,
    x: Tensor,
    labels: Tensor,
    epoch: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch (B, C, H, W), to be differentiated, and the logits of the inputs that were trained on.

    graph: of the module, as `verifiers.graph.trace` gives it, with the module's own parameters; only `CrownIbp` needs
    it. Raises `InvalidInput` if it is missing there.
    """
    epsilon = epsilon_at(objective, epoch)
    match objective:
        case Clean():
            return _plain(module, x, labels)
        case Gaussian(sigma=sigma):
            noise = torch.randn(x.shape, generator=generator)
            return _plain(module, x + sigma * noise, labels)
        case Adversarial(steps=steps, relative_step=relative_step):
            ball = Ball("linf", epsilon, 0.0, 1.0)
            attacked, _ = descend(
                module, x, x, labels, ball, [relative_step * epsilon] * steps, objective=negative_cross_entropy
            )
            return _plain(module, attacked, labels)
        case Smoothing(name=name, noise=spec, settings=settings, warmup=warmup):
            smoothing = component("randomized_smoothing.training").objective(name, settings)
            noise_of = component("randomized_smoothing.noise").from_spec(spec)
            pair: tuple[Tensor, Tensor] = smoothing.loss(
                module, x, labels, noise_of, generator, _ramp(epoch, 0.0, warmup)
            )
            return pair
        case CrownIbp():
            if graph is None:
                raise InvalidInput("CROWN-IBP needs the graph of the network")
            return _crown_ibp(objective, module, graph, x, labels, epsilon)
        case _:
            assert_never(objective)


def _plain(module: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits: Tensor = module(x)
    return cross_entropy(logits, labels), logits


def _crown_ibp(
    objective: CrownIbp, module: nn.Module, graph: Graph, x: Tensor, labels: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    clean_loss, logits = _plain(module, x, labels)
    progress = epsilon / objective.epsilon
    kappa = 1.0 - progress * (1.0 - objective.final_kappa)
    beta = 1.0 - progress * (1.0 - objective.final_beta)
    if epsilon == 0.0:
        return clean_loss, logits
    if beta > 0.0:
        interval, linear = crown_ibp_margins(graph, x, labels, epsilon, 0.0, 1.0)
        margins = (1.0 - beta) * interval + beta * linear
    else:
        margins = ibp_margins(graph, x, labels, epsilon, 0.0, 1.0)
    # the margin of the label to itself is 0, so -m are the worst logits relative to that of the label
    return kappa * clean_loss + (1.0 - kappa) * cross_entropy(-margins, labels), logits
