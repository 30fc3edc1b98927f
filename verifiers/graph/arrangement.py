"""Affine operations that move numbers around: every output is one input coordinate as it is, or zero.

With `Add` they make up more: joining tensors is a sum of paddings, broadcasting an `Expand`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import LinearOp, Shape


class Rearrangement(LinearOp):
    """W has at most a single 1 in each row and zeros elsewhere: intervals pass through `linear` exactly."""

    @final
    def magnitude(self) -> Self:
        return self

    @property
    def terms(self) -> int:
        return 1

    def selects(self) -> bool:
        return self.terms == 1


@final
@dataclass(frozen=True, eq=False)
class Reshape(Rearrangement):
    """The same numbers in another shape (*shape)."""

    shape: Shape

    def linear(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return rows.reshape(rows.shape[0], *shape)


@final
@dataclass(frozen=True, eq=False)
class Permute(Rearrangement):
    """Reordered dimensions; `order` counts them without the batch, from 0."""

    order: tuple[int, ...]

    def linear(self, x: Tensor) -> Tensor:
        return x.permute(0, *(axis + 1 for axis in self.order))

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return rows.permute(0, *(axis + 1 for axis in inverse))


@final
@dataclass(frozen=True, eq=False)
class Pad(Rearrangement):
    """Zeros before and after each dimension; negative counts remove entries instead."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def linear(self, x: Tensor) -> Tensor:
        return F.pad(x, [count for ends in reversed(self._ends()) for count in ends])

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return F.pad(rows, [-count for ends in reversed(self._ends()) for count in ends])

    def _ends(self) -> list[tuple[int, int]]:
        return list(zip(self.before, self.after, strict=True))


@final
@dataclass(frozen=True, eq=False)
class Select(Rearrangement):
    """The entries `indices` of dimension `axis`, which counts without the batch, from 0."""

    axis: int
    indices: tuple[int, ...]

    @cached_property
    def _places(self) -> Tensor:
        return torch.tensor(self.indices)

    @cached_property
    def _slices(self) -> tuple[slice, ...] | None:
        """For evenly spaced indices, which cost no lookup."""
        first, last = self.indices[0], self.indices[-1]
        step = max(1, self.indices[1] - first) if len(self.indices) > 1 else 1
        even = self.indices == tuple(range(first, last + 1, step))
        return (slice(None),) * (self.axis + 1) + (slice(first, last + 1, step),) if even else None

    def linear(self, x: Tensor) -> Tensor:
        if self._slices is not None:
            return x[self._slices]
        places = self._places.to(x.device)
        if self.axis == x.dim() - 2:  # several times as fast as index_select where neighbours in memory are picked
            return x.gather(-1, places.expand(*x.shape[:-1], -1))
        return x.index_select(self.axis + 1, places)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        pulled = rows.new_zeros(rows.shape[0], *shape)
        if self._slices is None:
            return pulled.index_add(self.axis + 1, self._places.to(rows.device), rows)
        pulled[self._slices] = rows
        return pulled

    @cached_property
    def terms(self) -> int:
        return max(Counter(self.indices).values())


@final
@dataclass(frozen=True, eq=False)
class Expand(Rearrangement):
    """Dimensions of size 1 repeated: `counts` has the new size of those, and 1 for dimensions that stay."""

    counts: Shape

    def linear(self, x: Tensor) -> Tensor:
        return x.expand(-1, *(count if count > 1 else -1 for count in self.counts))

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return Sum(self.counts).linear(rows)

    @property
    def terms(self) -> int:
        return math.prod(self.counts)


@final
@dataclass(frozen=True, eq=False)
class Sum(LinearOp):
    """Sums over dimensions, which keep size 1: `counts` has the size of those, and 1 for dimensions that stay."""

    counts: Shape

    def linear(self, x: Tensor) -> Tensor:
        axes = [axis for axis, count in enumerate(self.counts, start=1) if count > 1]
        return x.sum(axes, keepdim=True) if axes else x

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return Expand(self.counts).linear(rows)

    def row_norms(self, q: float, in_shape: Shape) -> Tensor | None:
        return torch.tensor(1.0 if q == torch.inf else self.terms ** (1 / q), dtype=torch.float64)

    def magnitude(self) -> Sum:
        return self

    @property
    def terms(self) -> int:
        return math.prod(self.counts)
