"""Primitive operations of a network graph. Immutable; tensors carry a leading batch dimension, shapes do not.

A `LinearOp` is an affine map z = W x + b given by W (`linear`), its transpose (`adjoint`) and `bias`. That, and the
entrywise absolute value of W (`magnitude`), is all that bound propagation needs of it, so a new affine operation is
one class and nothing elsewhere; they are in `linear`, `convolution` and `arrangement`. `terms` and `roundings` feed
the error analysis in `verifiers.bounds.rounding`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


class Op(ABC):
    """One operation on tensors (B, *shape)."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """The value for a batch of inputs."""

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def tensors(self) -> dict[str, Tensor]:
        """The tensors this operation holds, by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def with_tensors(self, **tensors: Tensor) -> Self:
        return replace(self, **tensors) if tensors else self  # type: ignore[type-var]


class LinearOp(Op):
    """z = W x + b."""

    roundings: int = 0

    @abstractmethod
    def linear(self, x: Tensor) -> Tensor:
        """W x, shape (B, *out), for x (B, *in)."""

    @abstractmethod
    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        """W^T r for rows r (P, *out); `shape` is the input's (*in). Returns (P, *in)."""

    @abstractmethod
    def magnitude(self) -> LinearOp:
        """The operation x -> |W| x, without bias."""

    def unit_rows(self, entries: Tensor, in_shape: Shape, out_shape: Shape) -> Tensor:
        """Rows of W: W^T e_j for flat output entries j (P,), computed without rounding. Returns (P, *in)."""
        dtype = next((tensor.dtype for tensor in self.tensors().values()), torch.float64)
        return self.adjoint(one_hot(entries, out_shape, dtype), in_shape)

    def row_norms(self, q: float, in_shape: Shape) -> Tensor | None:
        """||W_j||_q or more for q = 2 or infinity, broadcastable to (*out); None where it is not worked out."""
        return None

    @property
    def offset(self) -> Tensor | None:
        """b, broadcastable to (*out), or None for zero."""
        return None

    @property
    @abstractmethod
    def terms(self) -> int:
        """The most products summed for one entry, in either direction."""

    @property
    def rounded(self) -> int:
        """How many float64 roundings lie between the network's own weights and biases and the ones held here."""
        return self.roundings

    def selects(self) -> bool:
        """Whether no output depends on two input coordinates and no two outputs on one: a box stays a box."""
        return False

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        value = self.linear(x)
        return value if self.offset is None else value + self.offset


@final
@dataclass(frozen=True, eq=False)
class Input(Op):
    """The network's input."""

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return x


@final
@dataclass(frozen=True, eq=False)
class Add(Op):
    """The sum of two nodes of one shape."""

    def forward(self, *inputs: Tensor) -> Tensor:
        a, b = inputs
        return a + b


@final
@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """weight * (x - mean) / sqrt(variance + eps) + bias per channel, as evaluated in eval mode.

    Never seen by bound propagation: `verifiers.graph.rewriting.simplify` turns it into a `Scale` or folds it.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor
    eps: float

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.batch_norm(inputs[0], self.mean, self.variance, self.weight, self.bias, False, 0.0, self.eps)


def one_hot(entries: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Unit vectors (P, *shape) with a one at each of the flat entries (P,)."""
    rows = torch.zeros(len(entries), math.prod(shape), dtype=dtype, device=entries.device)
    return rows.scatter_(1, entries[:, None], 1.0).reshape(-1, *shape)


def cast(op: Op, **to: Any) -> Op:
    """`op` with its tensors detached and moved: `cast(op, dtype=torch.float64, device="cpu")`."""
    return op.with_tensors(**{name: tensor.detach().to(**to) for name, tensor in op.tensors().items()})
