"""Primitive operations of a network graph. Immutable; tensors carry a leading batch dimension, shapes do not.

A `LinearOp` is an affine map z = W x + b given by W (`linear`), its transpose (`adjoint`) and `bias`. That, and the
entrywise absolute value of W (`magnitude`), is all that bound propagation needs of it, so a new affine operation is
one class here and nothing elsewhere. `terms` and `roundings` feed the error analysis in `verifiers.bounds.rounding`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

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
        return 0

    def selects(self) -> bool:
        """Whether each output depends on one input coordinate only (so that intervals pass exactly)."""
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

    @property
    def rounded(self) -> int:
        return self.roundings


@final
@dataclass(frozen=True, eq=False)
class Conv2d(LinearOp):
    """weight (out, in / groups, kh, kw), bias (out,); zero padding (ph, pw) on both sides."""

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    roundings: int = 0

    def linear(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.conv2d(inputs[0], self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        size = (rows.shape[0], *shape)
        # the same map as conv_transpose2d, up to three times as fast in float64
        pulled: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            size, self.weight, rows, self.stride, self.padding, self.dilation, self.groups
        )
        return pulled

    def unit_rows(self, entries: Tensor, in_shape: Shape, out_shape: Shape) -> Tensor:
        """Kernels written at their places on an empty canvas: no product is formed."""
        channel, place = entries // (out_shape[1] * out_shape[2]), entries % (out_shape[1] * out_shape[2])
        tops, lefts = place // out_shape[2] * self.stride[0], place % out_shape[2] * self.stride[1]
        _, within, height, width = self.weight.shape
        rows = tops[:, None] + torch.arange(height, device=entries.device) * self.dilation[0]
        columns = lefts[:, None] + torch.arange(width, device=entries.device) * self.dilation[1]
        first = channel // (out_shape[0] // self.groups) * within
        channels = first[:, None] + torch.arange(within, device=entries.device)
        (top, left), (_, tall, wide) = self.padding, in_shape
        canvas = self.weight.new_zeros(len(entries), in_shape[0], tall + 2 * top, wide + 2 * left)
        each = torch.arange(len(entries), device=entries.device)[:, None, None, None]
        place4 = (each, channels[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :])
        return canvas.index_put(place4, self.weight[channel])[:, :, top : top + tall, left : left + wide]

    def row_norms(self, q: float, in_shape: Shape) -> Tensor | None:
        """Exact for q = 2, where windows that reach into the padding have smaller norms; for infinity the kernel's."""
        if q == 2.0:
            squares = replace(self, weight=self.weight.square())
            return squares.linear(self.weight.new_ones(1, *in_shape))[0].sqrt()
        norms: Tensor = torch.linalg.vector_norm(self.weight.flatten(1), ord=q, dim=1)
        return norms[:, None, None]

    def magnitude(self) -> Conv2d:
        return replace(self, weight=self.weight.abs(), bias=None)

    @property
    def offset(self) -> Tensor | None:
        return None if self.bias is None else self.bias[:, None, None]

    @property
    def terms(self) -> int:
        out, within, height, width = self.weight.shape
        return max(within, out // self.groups) * height * width

    @property
    def rounded(self) -> int:
        return self.roundings


@final
@dataclass(frozen=True, eq=False)
class AvgPool2d(LinearOp):
    """Mean over windows; padded zeros count, as they do by default in torch."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def linear(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        weight = rows.new_full((shape[0], 1, *self.kernel), 1.0 / (self.kernel[0] * self.kernel[1]))
        as_conv = Conv2d(weight, None, self.stride, self.padding, groups=shape[0])
        return as_conv.adjoint(rows, shape)

    def magnitude(self) -> AvgPool2d:
        return self

    @property
    def terms(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def rounded(self) -> int:
        return 1  # of 1 / (kh kw)


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

    @property
    def rounded(self) -> int:
        return self.roundings

    def selects(self) -> bool:
        return True


@final
@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """weight * (x - mean) / sqrt(variance + eps) + bias per channel, as evaluated in eval mode.

    Never seen by bound propagation: `verifiers.graph.simplify` turns it into a `Scale` or folds it.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor
    eps: float

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.batch_norm(inputs[0], self.mean, self.variance, self.weight, self.bias, False, 0.0, self.eps)


@final
@dataclass(frozen=True, eq=False)
class Reshape(LinearOp):
    """The same numbers in another shape (*shape)."""

    shape: Shape

    def linear(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        return rows.reshape(rows.shape[0], *shape)

    def magnitude(self) -> Reshape:
        return self

    @property
    def terms(self) -> int:
        return 1

    def selects(self) -> bool:
        return True


@final
@dataclass(frozen=True, eq=False)
class Permute(LinearOp):
    """Reordered dimensions; `order` counts them without the batch, from 0."""

    order: tuple[int, ...]

    def linear(self, x: Tensor) -> Tensor:
        return x.permute(0, *(axis + 1 for axis in self.order))

    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return rows.permute(0, *(axis + 1 for axis in inverse))

    def magnitude(self) -> Permute:
        return self

    @property
    def terms(self) -> int:
        return 1

    def selects(self) -> bool:
        return True


def one_hot(entries: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Unit vectors (P, *shape) with a one at each of the flat entries (P,)."""
    rows = torch.zeros(len(entries), math.prod(shape), dtype=dtype, device=entries.device)
    return rows.scatter_(1, entries[:, None], 1.0).reshape(-1, *shape)


def cast(op: Op, **to: Any) -> Op:
    """`op` with its tensors detached and moved: `cast(op, dtype=torch.float64, device="cpu")`."""
    return op.with_tensors(**{name: tensor.detach().to(**to) for name, tensor in op.tensors().items()})
