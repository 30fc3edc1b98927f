"""Input sets: the perturbed inputs as an interval hull and as the extremum of a linear function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput
from sokbench.core.problem import Ball

UNDERFLOW = 2.0**-500
"""More than an l2 norm can lose where squares of its entries underflow."""

Owner = slice | Tensor
"""Which batch entry each group of rows belongs to: rows are (S, G, K, *shape), owners index a (B, ...) tensor to
(G, ...). A slice where the groups are consecutive inputs, a LongTensor (G,) where they are not."""


class Interval(NamedTuple):
    """Lower and upper bounds, each (B, *shape)."""

    lower: Tensor
    upper: Tensor


class DualBall(NamedTuple):
    """{centre + d: a d <= radius ||a||_q for all a}; centre (B, *shape), radius (B,)."""

    centre: Tensor
    radius: Tensor
    q: float


class InputSet(ABC):
    """A set of inputs for each entry of a batch."""

    @abstractmethod
    def interval(self) -> Interval:
        """The smallest box around the set, rounded outward."""

    @abstractmethod
    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        """min (sign -1) or max (sign +1) over the set of a x for rows a (S, G, K, *shape); (S, G, K)."""

    @abstractmethod
    def size(self) -> Tensor:
        """max |x| over the set and max of anything `concretize` adds per unit of ||a||_1, (B,)."""

    @property
    @abstractmethod
    def is_box(self) -> bool:
        """Whether the set is its interval hull."""

    @property
    def ball(self) -> DualBall | None:
        """A ball that holds the set, with the set's hull; None where it says nothing beyond the hull."""
        return None


def input_set(x: Tensor, ball: Ball) -> InputSet:
    """The set of `ball` around each of x (B, *shape). Raises `Unsupported` for l0 without a box."""
    if ball.norm == "linf":
        return Box(x, ball.radius, ball.low, ball.high)
    if ball.norm == "l0":
        from .sparse import Sparse

        return Sparse(x, int(ball.radius), ball.low, ball.high)
    return LpBall(x, ball.radius, 2.0 if ball.norm == "l2" else torch.inf, ball.low, ball.high)


def per_input(radius: float | Tensor, x: Tensor) -> Tensor:
    """A radius for all inputs or one for each, as (B,). Raises `InvalidInput` for another shape or a negative one."""
    radii = torch.as_tensor(radius, dtype=x.dtype, device=x.device)
    if radii.shape not in ((), x.shape[:1]) or not bool((radii >= 0).all()):
        raise InvalidInput(f"a radius >= 0 or one for each of {len(x)} inputs is expected, not {tuple(radii.shape)}")
    return radii.expand(len(x))


def box_around(x: Tensor, radius: float | Tensor, low: float | None, high: float | None) -> Interval:
    """[x - radius, x + radius] cut with [low, high], rounded outward; radius: a number, (B,) or as x."""
    if isinstance(radius, Tensor) and radius.dim() == 1 and x.dim() > 1:
        radius = per_input(radius, x).reshape(-1, *(1 for _ in x.shape[1:]))
    lower, upper = next_float(x - radius, -torch.inf), next_float(x + radius, torch.inf)
    return Interval(
        lower.clamp(min=low) if low is not None else lower, upper.clamp(max=high) if high is not None else upper
    )


def next_float(values: Tensor, end: float) -> Tensor:
    """The floats after `values` towards `end`; differentiable as the identity."""
    if not values.requires_grad:
        return torch.nextafter(values, values.new_tensor(end))
    fixed = values.detach()
    return values + (torch.nextafter(fixed, fixed.new_tensor(end)) - fixed)  # exact: both are neighbours


@final
class Box(InputSet):
    """x' with |x' - x| <= radius, cut with [low, high]: exact. radius: a number, (B,) or one per coordinate as x."""

    def __init__(self, x: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None) -> None:
        self._hull = box_around(x, radius, low, high)

    @cached_property
    def _centre(self) -> Tensor:
        return (self._hull.lower + self._hull.upper) / 2

    @cached_property
    def _radius(self) -> Tensor:
        return (self._hull.upper - self._hull.lower) / 2

    def interval(self) -> Interval:
        return self._hull

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        return pair(rows, self._centre[owner]) + sign * pair(rows.abs(), self._radius[owner])

    def size(self) -> Tensor:
        return (self._centre.abs() + self._radius).flatten(1).amax(dim=1)

    @property
    def is_box(self) -> bool:
        return True


@final
class LpBall(InputSet):
    """x' with ||x' - x||_p <= radius for p = 2 or 1 (q, the dual exponent, is 2 or infinity), cut with [low, high].
    radius: a number, or one per input (B,).

    Without a box the extremum of a x is a x +- radius ||a||_q. With one, coordinate i can move by at most d_i in the
    direction that helps, and by weak duality the gain is at most radius ||t||_q + (|a| - t) d for every 0 <= t <= |a|
    (the ball pays for t, the box for the rest). The t used is optimal for p = 1 (a fractional knapsack, one sort per
    row) and within a few fixed-point steps of it for p = 2 (some 30 passes over the row).
    """

    def __init__(
        self, x: Tensor, radius: float | Tensor, q: float, low: float | None = None, high: float | None = None
    ) -> None:
        self._x, self._radius, self._q = x, per_input(radius, x), q
        self._hull = box_around(x, self._radius, low, high)
        self._cut = low is not None or high is not None
        self._up = next_float(self._hull.upper - x, torch.inf)
        self._down = next_float(x - self._hull.lower, torch.inf)

    def interval(self) -> Interval:
        return self._hull

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        centre, rates = pair(rows, self._x[owner]), rows.abs().flatten(3)
        radius = self._radius[owner][:, None]
        if not self._cut:
            dual: Tensor = torch.linalg.vector_norm(rates, ord=self._q, dim=3)
            return centre + sign * (radius * (dual + UNDERFLOW))
        up, down = (room[owner].flatten(1)[:, None] for room in (self._up, self._down))
        room = torch.where(sign[..., None] * rows.flatten(3) > 0, up, down)
        share = _l2_share if self._q == 2.0 else _l1_share
        pays = share(rates, room, radius[..., None])
        ball: Tensor = torch.linalg.vector_norm(pays, ord=self._q, dim=3) + UNDERFLOW
        gain = radius * ball + ((rates - pays) * room).sum(dim=3)
        return centre + sign * torch.minimum(gain, (rates * room).sum(dim=3))

    def size(self) -> Tensor:
        return self._x.abs().flatten(1).amax(dim=1) + 2 * self._radius

    @property
    def is_box(self) -> bool:
        return False

    @property
    def ball(self) -> DualBall | None:
        return DualBall(self._x, self._radius, self._q)


_STEPS = 5


def _l2_share(rates: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """t = min(|a|, s d), where s makes the best move min(|a| / s, d) as long as the radius.

    The fixed point s^2 = sum of a_i^2 over free i / (radius^2 - sum of d_i^2 over stuck i) is approached from above.
    """
    limits = torch.finfo(rates.dtype)
    scale = torch.linalg.vector_norm(rates, dim=3, keepdim=True) / radius.clamp(min=limits.tiny)
    for _ in range(_STEPS):
        stuck = (rates >= scale * room).to(rates.dtype)
        left = radius**2 - (stuck * room.square()).sum(dim=3, keepdim=True)
        free = ((1 - stuck) * rates.square()).sum(dim=3, keepdim=True)
        scale = torch.minimum(scale, (free / left.clamp(min=limits.tiny)).sqrt())
    return torch.minimum(rates, scale * room)


def _l1_share(rates: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """t = min(|a|, s), where the coordinates of larger |a| can just spend the radius."""
    ordered, places = rates.sort(dim=3, descending=True)
    spent = room.gather(3, places.expand_as(room)).cumsum(dim=3)
    enough = (spent >= radius).to(rates.dtype)
    return torch.minimum(rates, (ordered * enough).amax(dim=3, keepdim=True))


def pair(rows: Tensor, values: Tensor) -> Tensor:
    """Sums of products (S, G, K) of rows (S, G, K, *shape) with values (G, *shape) of their owners."""
    flat, right = rows.flatten(3), values.flatten(1)
    if len(right) == 1:
        return flat @ right[0]
    return (flat * right[:, None]).sum(dim=3)  # a batched product with single columns takes three times as long
