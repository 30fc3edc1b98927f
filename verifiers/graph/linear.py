"""Affine operations with weights of their own, and sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import LinearOp, Shape


@final
@dataclass(frozen=True, eq=False)
class Linear(LinearOp):
    """weight (out, in), bias (out,); acts on the last dimension."""

    weight: Tensor
    bias: Tensor | None = None
    roundings: int = 0

    def linear(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.linear(inputs[0], self.weight, self.bias)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return rows @ self.weight

    def unit_rows(self, entries: Tensor, in_shape: Shape, out_shape: Shape) -> Tensor:
        if len(out_shape) == 1:
            return self.weight[entries]
        return super().unit_rows(entries, in_shape, out_shape)

    def row_norms(self, q: float, in_shape: Shape) -> Tensor | None:
        norms: Tensor = torch.linalg.vector_norm(self.weight, ord=q, dim=1)
        return norms

    def magnitude(self) -> Linear:
        return Linear(self.weight.abs())

    @property
    def offset(self) -> Tensor | None:
        return self.bias

    @property
    def terms(self) -> int:
        return max(self.weight.shape)


@final
@dataclass(frozen=True, eq=False)
class Scale(LinearOp):
    """scale * x + shift, both broadcastable to (*shape)."""

    scale: Tensor
    shift: Tensor
    roundings: int = 0

    def linear(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x.dtype)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.linear(inputs[0]) + self.shift.to(inputs[0].dtype)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return rows * self.scale.to(rows.dtype)

    def magnitude(self) -> Scale:
        return Scale(self.scale.abs(), torch.zeros_like(self.shift))

    @property
    def offset(self) -> Tensor | None:
        return self.shift

    @property
    def terms(self) -> int:
        return 1

    def selects(self) -> bool:
        return True
