"""Inputs of which only a few parts may change: the l0 ball and, by the same rule, anything with a budget of changes.

The parts of the input change independently, each for a cost of 1, so that the extremum of a linear function adds the
largest gains, as many as the budget allows (Xu et al. 2020, appendix C.4).
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput, Unsupported

from .inputs import DualBall, InputSet, Interval, Owner, pair


def per_input_budget(budget: int | Tensor, x: Tensor) -> Tensor:
    """A budget for all inputs or one for each, as (B,). Raises `InvalidInput` for another shape or a negative one."""
    budgets = torch.as_tensor(budget, device=x.device).long()
    if budgets.shape not in ((), x.shape[:1]) or not bool((budgets >= 0).all()):
        raise InvalidInput(f"a budget >= 0 or one for each of {len(x)} inputs is expected, not {tuple(budgets.shape)}")
    return budgets.expand(len(x))


def largest(gains: Tensor, budget: Tensor) -> Tensor:
    """Sums (S, G, K) of the `budget` (G,) largest of gains (S, G, K, parts), which are >= 0."""
    most = min(int(budget.max()), gains.shape[3])
    best = gains.topk(most, dim=3).values
    return (best * (torch.arange(most, device=gains.device) < budget[:, None, None])).sum(dim=3)


@final
class Sparse(InputSet):
    """x' in the box [low, high] that differs from x in at most `budget` coordinates: exact.

    x: (B, *shape); budget: a number, or one per input (B,)
    pixels: the channels, along the first dimension of the shape, count as one: a changed pixel costs 1
    Costs one selection of the largest gains per row. The hull is the whole box, so interval bounds say little; the
    l1 ball around the set (budget times the largest move) helps them in the first layer.
    Raises `Unsupported` without a box, `InvalidInput` for a negative budget.
    """

    def __init__(
        self, x: Tensor, budget: int | Tensor, low: float | None, high: float | None, pixels: bool = False
    ) -> None:
        if low is None or high is None:
            raise Unsupported("l0 balls without a box [low, high]: a changed coordinate could be anything")
        self._x, self._budget, self._low, self._high = x, per_input_budget(budget, x), low, high
        self._channels = x.shape[1] if pixels and x.dim() > 2 else 1
        infinity = x.new_tensor(torch.inf)
        self._up = torch.nextafter(high - x, infinity).clamp(min=0)
        self._down = torch.nextafter(x - low, infinity).clamp(min=0)

    def interval(self) -> Interval:
        free = (self._budget > 0).reshape(-1, *(1 for _ in self._x.shape[1:]))
        low, high = self._x.new_tensor(self._low), self._x.new_tensor(self._high)
        return Interval(torch.where(free, low, self._x), torch.where(free, high, self._x))

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        flat = sign[..., None] * rows.flatten(3)
        up, down = (room[owner].flatten(1)[:, None] for room in (self._up, self._down))
        gains = torch.maximum(flat * up, -flat * down)
        gains = gains.reshape(*gains.shape[:3], self._channels, -1).sum(dim=3)
        return pair(rows, self._x[owner]) + sign * largest(gains, self._budget[owner])

    def size(self) -> Tensor:
        return self._x.abs().flatten(1).amax(dim=1) + self._room()

    @property
    def is_box(self) -> bool:
        return False

    @property
    def ball(self) -> DualBall | None:
        changed = (self._budget * self._channels).clamp(max=self._x[0].numel()).to(self._x.dtype)
        grown = 1 + 4 * torch.finfo(self._x.dtype).eps
        return DualBall(self._x, changed * self._room() * grown, torch.inf)

    def _room(self) -> Tensor:
        """The largest move of a coordinate, (B,)."""
        return torch.maximum(self._up, self._down).flatten(1).amax(dim=1)
