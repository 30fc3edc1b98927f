"""Nearest points of a ball cut with the box. For searches: nothing rests on their last digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sokbench.core.problem import Ball

from ..sets.inputs import Interval

Project = Callable[[Tensor], Tensor]
"""The nearest point of a set for each of (K, *shape)."""

_HALVINGS = 40


def onto_box(box: Interval) -> Project:
    return lambda points: points.clamp(box.lower, box.upper)


def projection(x: Tensor, ball: Ball, hull: Interval) -> Project:
    """Onto `ball` around one input x (1, *shape), whose hull with the box is known.

    For l2 and l1 the point is that of a Lagrangian with a multiplier of the distance, found by bisection: the offset
    from x shrinks by a factor (l2) or by a threshold (l1), then the box cuts it.
    """
    if ball.norm == "linf":
        return onto_box(hull)

    def cut(points: Tensor, multiplier: Tensor) -> Tensor:
        offset = points - x
        if ball.norm == "l2":
            smaller = offset / (1 + multiplier)
        else:
            smaller = offset.sign() * (offset.abs() - multiplier).clamp(min=0)
        return (x + smaller).clamp(hull.lower, hull.upper)

    def project(points: Tensor) -> Tensor:
        order = 2.0 if ball.norm == "l2" else 1.0

        def length(found: Tensor) -> Tensor:
            norm: Tensor = torch.linalg.vector_norm((found - x).flatten(1), ord=order, dim=1)
            return norm

        outer = length(points) / max(ball.radius, 1e-300) if ball.norm == "l2" else length(points)
        each = (-1, *(1 for _ in points.shape[1:]))
        low, high = torch.zeros_like(outer), outer
        inside = length(cut(points, low.reshape(each))) <= ball.radius
        for _ in range(0 if bool(inside.all()) else _HALVINGS):
            middle = (low + high) / 2
            short = length(cut(points, middle.reshape(each))) <= ball.radius
            low, high = torch.where(short, low, middle), torch.where(short, middle, high)
        return cut(points, torch.where(inside, 0.0, high).reshape(each))

    return project
