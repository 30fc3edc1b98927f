"""Primitive operations of a network graph. Immutable; tensors carry a leading batch dimension, shapes do not.

A `LinearOp` is an affine map z = W x + b given by W (`linear`), its transpose (`adjoint`) and `bias`. That, and the
entrywise absolute value of W (`magnitude`), is all that bound propagation needs of it, so a new affine operation is
one class here and nothing elsewhere. `terms` and `roundings` feed the error analysis in `verifiers.bounds.rounding`.
"""

from __future__ import annotations

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

    @abstractmethod
    def linear(self, x: Tensor) -> Tensor:
        """W x, shape (B, *out), for x (B, *in)."""

    @abstractmethod
    def adjoint(self, rows: Tensor, shape: Shape) -> Tensor:
        """W^T r for rows r (P, *out); `shape` is the input's (*in). Returns (P, *in)."""

    @abstractmethod
    def magnitude(self) -> LinearOp:
        """The operation x -> |W| x, without bias."""

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
class Relu(Op):
    """max(x, 0)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return F.relu(x)


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
        rest = tuple(_conv_rest(shape[i + 1], rows.shape[i + 2], self, i) for i in (0, 1))
        return F.conv_transpose2d(rows, self.weight, None, self.stride, self.padding, rest, self.groups, self.dilation)

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


def _conv_rest(size: int, out: int, op: Conv2d, axis: int) -> int:
    """Input rows that no window of a strided convolution reaches: `output_padding` of its transpose."""
    reach = (out - 1) * op.stride[axis] - 2 * op.padding[axis] + op.dilation[axis] * (op.weight.shape[axis + 2] - 1) + 1
    return size - reach


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


def cast(op: Op, **to: Any) -> Op:
    """`op` with its tensors detached and moved: `cast(op, dtype=torch.float64, device="cpu")`."""
    return op.with_tensors(**{name: tensor.detach().to(**to) for name, tensor in op.tensors().items()})
