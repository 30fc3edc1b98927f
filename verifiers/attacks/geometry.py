"""The geometry of attacks: projections, steepest directions and random points of balls intersected with the box.

Every point returned by `project` and `random_points` lies in the ball and in the box in real arithmetic, not just up
to rounding: a point is first brought inside in float64 with a margin for the rounding of that computation, and each
coordinate is then rounded towards the centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from sokbench.core.problem import Ball
from sokbench.core.seeds import input_seed

NORMS = ("linf", "l2", "l1")
_UNIT_ROUNDOFF = 2.0**-53


def project(points: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """A point of the ball around `x`, box included, near each of `points` (both (B, *shape), of one float type).

    The nearest point for l_inf, and for l1 and l2 unless both the box and the ball cut: then the nearest point of
    the box is moved towards `x`, which keeps it in the box. `x` itself must lie in the box.
    """
    low, high = _box(ball, x.dtype)
    offset = (points.clamp(low, high).double() - x.double()).flatten(1)
    # A norm of n float64 differences is computed with a relative error below (n + 4) u (Higham, Accuracy and
    # Stability of Numerical Algorithms, 2nd ed., Sec. 3.1; n for the sum, one each for difference, square, root and
    # division), and l1 subtracts a threshold of the same relative accuracy once more.
    radius = ball.radius * (1.0 - 2.0 * (offset.shape[1] + 4) * _UNIT_ROUNDOFF)
    inside = _shrink(offset, ball.norm, radius).view_as(points)
    # a rounded difference can lead out of the box again, by less than a unit in the last place of x
    return _add_towards(x, inside).clamp(low, high)


def _box(ball: Ball, dtype: torch.dtype) -> tuple[float, float]:
    """The smallest and largest numbers of `dtype` in the box."""
    low = torch.tensor(-math.inf if ball.low is None else ball.low, dtype=torch.float64)
    high = torch.tensor(math.inf if ball.high is None else ball.high, dtype=torch.float64)
    return float(-_round_down(-low, dtype)), float(_round_down(high, dtype))


def _round_down(value: Tensor, dtype: torch.dtype) -> Tensor:
    rounded = value.to(dtype)
    below = torch.nextafter(rounded, torch.full_like(rounded, -math.inf))
    return torch.where(rounded.double() > value, below, rounded)


def _shrink(offset: Tensor, norm: str, radius: float) -> Tensor:
    """The nearest vector (B, n) with `norm` at most `radius`; no coordinate grows or changes its sign."""
    if norm == "linf":
        return offset.clamp(-radius, radius)
    if norm == "l2":
        length = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
        scaled: Tensor = offset * (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(max=1.0)
        return scaled
    if norm == "l1":
        return _shrink_l1(offset, radius)
    raise Unsupported(f"the projection onto a {norm} ball is not available; norms: {', '.join(NORMS)}")


def _shrink_l1(offset: Tensor, radius: float) -> Tensor:
    """Soft threshold at the level where the l1 norm is `radius` (Duchi et al., ICML 2008, Fig. 1)."""
    size = offset.abs()
    ordered, _ = size.sort(dim=1, descending=True)
    count = torch.arange(1, size.shape[1] + 1, dtype=size.dtype, device=size.device)
    excess = ordered.cumsum(dim=1) - radius
    active = (ordered * count > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, active - 1) / active).clamp_min(0.0)
    reduced = (size - threshold).clamp_min(0.0)
    # the threshold is rounded relative to the whole sum, so the result is scaled down by what it still exceeds
    total = reduced.sum(dim=1, keepdim=True)
    keep = (radius / total.clamp_min(torch.finfo(total.dtype).tiny)).clamp(max=1.0)
    return reduced * keep * offset.sign()


def _add_towards(x: Tensor, offset: Tensor) -> Tensor:
    """x + offset in the type of `x`, each coordinate rounded so that it is no further from `x` than |offset|."""
    centre = x.double()
    point = (centre + offset).to(x.dtype)
    too_far = (point.double() - centre).abs() > offset.abs()
    return torch.where(too_far, torch.nextafter(point, x), point)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The direction of unit `norm` along which `gradient` (B, *shape) rises fastest, or zero where it is zero.

    For l1 the whole step on one coordinate would take hundreds of steps, so it is shared by the steepest 1% (Tramer
    and Boneh, NeurIPS 2019, Sec. 2.4).
    """
    flat = gradient.nan_to_num().flatten(1)
    if norm == "linf":
        direction = flat.sign()
    elif norm == "l2":
        direction = flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    else:
        coordinates = max(1, flat.shape[1] // 100)
        top = flat.abs().topk(coordinates, dim=1).indices
        direction = torch.zeros_like(flat).scatter(1, top, flat.gather(1, top).sign()) / coordinates
    return direction.view_as(gradient)


def random_points(x: Tensor, ball: Ball, seed: int, restart: int) -> Tensor:
    """A random point of the ball for each input of `x` (B, *shape), the same whatever else is in the batch.

    Uniform in the ball for l_inf and l2, uniform on an octahedron of uniform radius for l1; then projected to the box.
    """
    drawn = [_random_offset(one, ball, input_seed(seed, one, "restart", restart)) for one in x]
    return project(x + torch.stack(drawn).to(x), x, ball)


def _random_offset(one: Tensor, ball: Ball, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(one.shape)
    uniform = torch.rand(shape, generator=generator)
    if ball.norm == "linf":
        return (2.0 * uniform - 1.0) * ball.radius
    reach = float(torch.rand((), generator=generator))
    if ball.norm == "l2":
        direction = torch.randn(shape, generator=generator)
        length = float(torch.linalg.vector_norm(direction))
        return direction * (ball.radius * math.pow(reach, 1.0 / one.numel()) / length)
    weights = -torch.log1p(-uniform)
    signs = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
    length = float(weights.sum())
    return signs * weights * (ball.radius * reach / length)
