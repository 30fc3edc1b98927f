"""Projected gradient descent on a batch, in plain functions: the attack, accuracy figures and training all use it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sokbench.core.deadline import Deadline
from sokbench.core.evaluation import least_margin
from sokbench.core.problem import Ball

from .geometry import project, random_points, steepest

Logits = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]


def negative_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """What Madry et al. (ICLR 2018) descend on: low where the label is improbable. (B, C), (B,) -> (B,)."""
    return -cross_entropy(logits, labels, reduction="none")


def descend(
    logits_of: Logits,
    start: Tensor,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    steps: int,
    step_size: float,
    objective: Objective = least_margin,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> tuple[Tensor, Tensor]:
    """Lower the objective from `start` by steepest descent in the ball; return the best points seen and their values.

    start, x: (B, *shape), points of the ball and its centres; labels: (B,); step_size: in units of the input.
    objective: (logits (B, C), labels) -> (B,), the margin by default. Stops early, without an error, at the deadline.
    """
    best, lowest = start, torch.full((len(x),), torch.inf)
    points = start
    for step in range(steps + 1):
        points = points.detach().requires_grad_(True)
        values = objective(logits_of(points), labels)
        better = values.detach() < lowest
        lowest = torch.where(better, values.detach(), lowest)
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), points.detach(), best)
        if step == steps or deadline.expired():
            break
        (gradient,) = torch.autograd.grad(values.sum(), points)
        points = project(points.detach() - step_size * steepest(gradient, ball.norm), x, ball)
    return best, lowest


def attacked_margins(
    logits_of: Logits,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    steps: int,
    step_size: float,
    restarts: int,
    seed: int,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> tuple[Tensor, Tensor]:
    """The best of several descents on the margin: points (B, *shape) and least margins (B,) in the network's type.

    The first descent starts from the input itself, the others from random points that depend only on the seed, the
    input and the number of the restart. All restarts run as one batch of restarts * B.
    """
    starts = torch.cat([x, *(random_points(x, ball, seed, restart) for restart in range(1, restarts))])
    repeated, repeated_labels = x.repeat(restarts, *[1] * (x.dim() - 1)), labels.repeat(restarts)
    points, values = descend(logits_of, starts, repeated, repeated_labels, ball, steps, step_size, deadline=deadline)
    lowest, which = values.view(restarts, len(x)).min(dim=0)
    return points.view(restarts, *x.shape)[which, torch.arange(len(x))], lowest
