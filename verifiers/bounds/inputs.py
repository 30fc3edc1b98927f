"""Input sets: the perturbed inputs as an interval hull and as the extremum of a linear function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
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
    def ball(self) -> tuple[Tensor, float, float] | None:
        """(centre (B, *shape), radius, q): the set lies in {centre + d: a d <= radius ||a||_q for all a}; None where
        that says nothing beyond the hull."""
        return None


def input_set(x: Tensor, ball: Ball) -> InputSet:
    """The set of `ball` around each of x (B, *shape). Raises `Unsupported` for l0."""
    if ball.norm == "linf":
        return Box(x, ball.radius, ball.low, ball.high)
    if ball.norm in ("l2", "l1"):
        return LpBall(x, ball.radius, 2.0 if ball.norm == "l2" else torch.inf, ball.low, ball.high)
    raise Unsupported(f"linear bounds for the norm {ball.norm} are not available")


def box_around(x: Tensor, radius: float | Tensor, low: float | None, high: float | None) -> Interval:
    """[x - radius, x + radius] cut with [low, high], rounded outward."""
    infinity = x.new_tensor(torch.inf)
    lower = torch.nextafter(x - radius, -infinity)
    upper = torch.nextafter(x + radius, infinity)
    return Interval(
        lower.clamp(min=low) if low is not None else lower, upper.clamp(max=high) if high is not None else upper
    )


@final
class Box(InputSet):
    """x' with |x' - x| <= radius, cut with [low, high]: exact."""

    def __init__(self, x: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None) -> None:
        self._hull = box_around(x, radius, low, high)
        self._centre = (self._hull.lower + self._hull.upper) / 2
        self._radius = (self._hull.upper - self._hull.lower) / 2

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
    """x' with ||x' - x||_p <= radius for p = 2 or 1, cut with [low, high].

    q: the dual norm, 2 or infinity. Without a box the extremum is a x +- radius ||a||_q, exactly. With one, it is the
    better of that and the extremum over the hull: sound, not exact.
    """

    def __init__(self, x: Tensor, radius: float, q: float, low: float | None, high: float | None) -> None:
        self._x, self._radius, self._q = x, radius, q
        self._hull = Box(x, radius, low, high)
        self._cut = low is not None or high is not None

    def interval(self) -> Interval:
        return self._hull.interval()

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        dual = torch.linalg.vector_norm(rows.flatten(3), ord=self._q, dim=3) + UNDERFLOW
        value: Tensor = pair(rows, self._x[owner]) + sign * (self._radius * dual)
        if not self._cut:
            return value
        within: Tensor = sign * torch.minimum(sign * value, sign * self._hull.concretize(rows, sign, owner))
        return within

    def size(self) -> Tensor:
        return torch.maximum(self._x.abs().flatten(1).amax(dim=1) + self._radius, self._hull.size())

    @property
    def is_box(self) -> bool:
        return False

    @property
    def ball(self) -> tuple[Tensor, float, float] | None:
        return self._x, self._radius, self._q


def pair(rows: Tensor, values: Tensor) -> Tensor:
    """Sums of products (S, G, K) of rows (S, G, K, *shape) with values (G, *shape) of their owners."""
    flat, right = rows.flatten(3), values.flatten(1)
    if flat.shape[2] == 1:  # one row per owner: a batched product of vectors is slower than a sum
        return (flat * right[:, None]).sum(dim=3)
    return (flat @ right[:, :, None]).squeeze(3)
