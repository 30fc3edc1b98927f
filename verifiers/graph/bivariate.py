"""Functions of two variables, applied to every pair of entries. What is larger is composed of these: the maximum over a
window is a tree of `Max`, a product of two variable matrices is `Mul` and a sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from .ops import Op


class Bivariate(Op):
    """f(x, y), entry by entry, of two nodes of one shape."""


@final
@dataclass(frozen=True, eq=False)
class Mul(Bivariate):
    """x y."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x, y = inputs
        return x * y


@final
@dataclass(frozen=True, eq=False)
class Max(Bivariate):
    """max(x, y)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        x, y = inputs
        return torch.maximum(x, y)
