"""The contract's own attack: the least margins that can be found in a ball, by corners, samples and descent.

What it returns was attained by a point in the ball, evaluated in float64, so a lower bound above it is wrong beyond
argument. On the tiny networks it finds the exact optimum (tests/contract/test_optimum.py compares it with exhaustion).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Final

import torch
from torch import Tensor
from torch.nn import Module

from ..core.network import Network
from ..core.problem import Ball

STARTS: Final = 24
STEPS: Final = 24
DECAY: Final = 0.7
"""The first half of the steps shrinks from twice the radius to 1/70 of it; the second half searches along lines."""
LENGTHS: Final = tuple(2.0**-k for k in range(0, 10, 2))


def attained_margins(network: Network, x: Tensor, labels: Tensor, ball: Ball) -> Tensor:
    """Smallest f_y - f_j found in the ball around each input for each class j, float64 (B, C); +inf at j = y.

    x: (B, *shape). The search for each class starts from the corners of the ball (where there are few), random points
    of its boundary and interior, and the input itself, and descends with shrinking steps.
    """
    module = _float64(network)
    best = torch.full((len(x), network.num_classes), torch.inf, dtype=torch.float64)
    for target in range(network.num_classes):
        rows = (labels != target).nonzero().flatten()
        if len(rows):
            best[rows, target] = _descend(module, x[rows].double(), labels[rows], target, ball)
    return best


@cache
def _float64(network: Network) -> Module:
    module: Module = copy.deepcopy(network.module).double().eval()
    return module.requires_grad_(False)


def _descend(module: Module, centres: Tensor, labels: Tensor, target: int, ball: Ball) -> Tensor:
    """The least f_y - f_target that descent attains from any start, (B,)."""
    starts = torch.cat([_starts(centre, ball) for centre in centres])
    per_input = len(starts) // len(centres)
    centre, label = centres.repeat_interleave(per_input, dim=0), labels.repeat_interleave(per_input)

    def margins(points: Tensor) -> Tensor:
        logits: Tensor = module(points)
        return logits.gather(1, label[:, None]).squeeze(1) - logits[:, target]

    points = _project(starts, centre, ball)
    least, best = margins(points), points
    for step in range(STEPS):
        # small steps everywhere first, then long ones towards the vertex that the gradient points at: in a linear
        # piece the optimum is a vertex of the ball or lies on the border of the piece
        ascent = _gradient(margins, points)
        if step < STEPS // 2:
            size = 2 * ball.radius * DECAY**step
            points = _project(points - size * _direction(ascent, ball.norm), centre, ball)
        else:
            vertex = _lowest(ascent, centre, ball)
            tries = torch.stack([best + length * (vertex - best) for length in LENGTHS])
            values = torch.stack([margins(points) for points in tries])
            points = tries[values.argmin(dim=0), torch.arange(len(best))]
        value = margins(points)
        better = value < least
        least = torch.where(better, value, least)
        best = torch.where(better.view(-1, *[1] * (best.dim() - 1)), points, best)
        if step >= STEPS // 2 - 1:
            points = best
    return least.view(len(centres), per_input).amin(dim=1)


def _gradient(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.enable_grad():
        variable = points.clone().requires_grad_(True)
        found: tuple[Tensor, ...] = torch.autograd.grad(function(variable).sum(), variable)
    return found[0]


def _lowest(ascent: Tensor, centre: Tensor, ball: Ball) -> Tensor:
    """The point of the ball and box where the linear function with this gradient is least (l_inf, l1; nearly in l2)."""
    if ball.norm != "l1":
        return _project(centre - ball.radius * _direction(ascent, ball.norm), centre, ball)
    flat = ascent.flatten(1)
    end = torch.full_like(centre, torch.inf).copysign(-ascent)
    room = (_clip(end, ball) - centre).flatten(1).abs()
    # the steepest coordinates first, each as far as the box lets it go, until the radius is used up
    order = flat.abs().argsort(dim=1, descending=True)
    ordered = room.gather(1, order).clamp_max(ball.radius)
    used = ordered.cumsum(dim=1) - ordered
    moved = torch.minimum(ordered, (ball.radius - used).clamp_min(0.0))
    move = torch.zeros_like(flat).scatter(1, order, moved)
    return _clip(centre - (move * flat.sign()).view_as(centre), ball)


def _direction(gradient: Tensor, norm: str) -> Tensor:
    """Steepest ascent of unit length in the norm of the ball; for l1 and l0 along single coordinates."""
    flat = gradient.flatten(1)
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        length: Tensor = flat.norm(dim=1, keepdim=True)
        return (flat / length.clamp_min(1e-30)).view_as(gradient)
    largest = flat.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign()).view_as(gradient)


def _starts(centre: Tensor, ball: Ball) -> Tensor:
    """Points in and around the ball, (S, *shape) float64; the projection puts them inside."""
    generator = torch.Generator().manual_seed(0)
    size, radius = centre.numel(), ball.radius
    random = torch.randn(STARTS, size, generator=generator, dtype=torch.float64)
    unit = random / random.norm(dim=1, keepdim=True)
    inside = 2 * torch.rand(STARTS, size, generator=generator, dtype=torch.float64) - 1
    axes = torch.cat([torch.eye(size, dtype=torch.float64), -torch.eye(size, dtype=torch.float64)])
    offsets = [torch.zeros(1, size, dtype=torch.float64), radius * random.sign(), radius * unit, radius * inside]
    offsets.append(radius * axes)
    if size <= 6:
        signs = torch.tensor(list(product((-1.0, 1.0), repeat=size)), dtype=torch.float64)
        offsets.append(radius * signs)
    if ball.norm == "l0":
        offsets = [2 * inside, random.sign() * 2, 2 * axes]
    return centre + torch.cat(offsets).view(-1, *centre.shape)


def _project(points: Tensor, centre: Tensor, ball: Ball) -> Tensor:
    """Into the ball, then into the box; as the centre is in the box, clipping never leaves the ball."""
    offset = (points - centre).flatten(1)
    radius = ball.radius
    if ball.norm == "linf":
        offset = offset.clamp(-radius, radius)
    elif ball.norm == "l2":
        offset = offset * (radius / offset.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp_max(1.0)
    elif ball.norm == "l1":
        offset = _onto_l1(offset, radius)
    else:
        kept = offset.abs().argsort(dim=1, descending=True)[:, : int(radius)]
        offset = torch.zeros_like(offset).scatter(1, kept, offset.gather(1, kept))
    return _clip(centre + offset.view_as(points), ball)


def _clip(points: Tensor, ball: Ball) -> Tensor:
    """Into the box."""
    return points.clamp(-torch.inf if ball.low is None else ball.low, torch.inf if ball.high is None else ball.high)


def _onto_l1(offset: Tensor, radius: float) -> Tensor:
    """Soft threshold of each row so that its l1 norm is at most `radius` (Duchi et al. 2008, figure 1)."""
    magnitude = offset.abs()
    ordered = magnitude.sort(dim=1, descending=True).values
    count = torch.arange(1, offset.shape[1] + 1, dtype=torch.float64)
    threshold = ((ordered.cumsum(dim=1) - radius) / count).amax(dim=1, keepdim=True).clamp_min(0.0)
    return offset.sign() * (magnitude - threshold).clamp_min(0.0)
