"""Projected gradient descent on a batch, in plain functions: the attack, accuracy figures and training all use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
    step_sizes: Sequence[float],
    objective: Objective = least_margin,
    deadline: Deadline = Deadline(),  # noqa: B008
    momentum: float = 0.0,
    stop_below: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """Lower the objective from `start` by steepest descent in the ball; return the best points seen and their values.

    start, x: (B, *shape), points of the ball and its centres; labels: (B,); step_sizes: of each step, in units of
    the input; objective: (logits (B, C), labels) -> (B,), the margin by default; momentum: share of the directions
    before, as gradients of unit l1 norm (Dong et al., CVPR 2018). Stops, without an error, at the deadline, and as soon
    as one of the objectives is less than `stop_below`.
    """
    memory = torch.zeros_like(start)
    best, lowest = start, torch.full((len(x),), torch.inf)
    points = start
    for step_size in (*step_sizes, None):
        points = points.detach().requires_grad_(True)
        values = objective(logits_of(points), labels)
        better = values.detach() < lowest
        lowest = torch.where(better, values.detach(), lowest)
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), points.detach(), best)
        if step_size is None or deadline.expired() or bool((values < stop_below).any()):
            break
        (gradient,) = torch.autograd.grad(values.sum(), points)
        if momentum:
            size = gradient.abs().flatten(1).sum(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
            memory = gradient = momentum * memory + gradient / size.view(-1, *[1] * (x.dim() - 1))
        points = project(points.detach() - step_size * steepest(gradient, ball.norm), x, ball)
    return best, lowest


def attacked_margins(
    logits_of: Logits,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    step_sizes: Sequence[float],
    restarts: int,
    seed: int,
    deadline: Deadline = Deadline(),  # noqa: B008
    momentum: float = 0.0,
    stop_below: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """The best of several descents: points (B, *shape) and their least margins (B,), in the network's type.

    The first descent starts from the input itself and lowers the least margin. The others start from random points,
    which depend only on the seed, the input and the number of the restart, and lower the margin to one wrong class
    each, the likeliest first (multi-targeted: Gowal et al., arXiv:1910.09338): descending on the least margin gets
    stuck where two wrong classes are level. All of them run as one batch of restarts * B, until one margin is less than
    `stop_below`.
    """
    starts = torch.cat([x, *(random_points(x, ball, seed, restart) for restart in range(1, restarts))])
    centres, truth = x.repeat(restarts, *[1] * (x.dim() - 1)), labels.repeat(restarts)
    with torch.no_grad():
        targets = _targets(logits_of(x), labels, restarts)

    def objective(logits: Tensor, labels: Tensor) -> Tensor:
        targeted = logits.gather(1, labels[:, None]) - logits.gather(1, targets[:, None])
        least = least_margin(logits[: len(x)], labels[: len(x)])
        return torch.cat([least, targeted[len(x) :, 0]])

    points, _ = descend(logits_of, starts, centres, truth, ball, step_sizes, objective, deadline, momentum, stop_below)
    with torch.no_grad():
        values = least_margin(logits_of(points), truth)
    lowest, which = values.view(restarts, len(x)).min(dim=0)
    return points.view(restarts, *x.shape)[which, torch.arange(len(x))], lowest


def _targets(logits: Tensor, labels: Tensor, restarts: int) -> Tensor:
    """The class each row of the batch (restarts * B,) aims at: the wrong classes by logit, in turn, from restart 1."""
    order = logits.scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)[:, :-1]
    columns = (torch.arange(restarts) - 1) % order.shape[1]
    return order[:, columns].T.flatten()
