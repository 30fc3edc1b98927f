"""Building a graph node by node: what the readers of torch modules and of ONNX files share.

Sources count the batch as a dimension; nodes do not. Methods here take dimensions as the source counts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from ..arrangement import Reshape, Sum
from ..bivariate import Mul
from ..elementwise import Reciprocal, Square
from ..graph import Graph, Node
from ..linear import Scale
from ..ops import Add, Input, Op, Shape
from .recognize import operations


class MixesBatch(Unsupported):
    """An operation does not treat the members of a batch alike."""


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: node `index` of the graph being built.

    batched: whether its first dimension in the source is the batch. A source written for one input at a time may
    drop that dimension, or never have it.
    """

    index: int
    batched: bool = True


Operand = Any
"""A `Value`, or a constant: a tensor or a number."""


class Builder:
    """Collects nodes; infers shapes by running each operation once on zeros.

    batch: the size of the batch in the source's shapes; 1 where it is written for one input at a time
    where: the place in the module or file that is being read, for messages
    All methods raise `Unsupported` for operations that do not fit their inputs, mix the batch with other dimensions
    (if it is not 1), or combine variables in a way that is not known.
    """

    def __init__(
        self, input_shape: Shape, dtype: torch.dtype = torch.float32, batch: int = 1, device: torch.device | None = None
    ) -> None:
        self.batch = batch
        # of the input, and of weights that are not the network's own
        self.options: dict[str, Any] = {"dtype": dtype, "device": device}
        self.where = "input"
        self._nodes: list[Node] = [Node(Input(), (), tuple(input_shape), "input")]
        self._zeros: list[Tensor] = [torch.zeros(1, *input_shape, dtype=dtype, device=device)]

    def add(self, op: Op, *inputs: Operand) -> Value:
        """Append a node on `inputs`, which must all be values."""
        if not all(isinstance(value, Value) for value in inputs):
            raise Unsupported(f"{op.name} at {self.where!r} of a constant")
        try:
            with torch.no_grad():
                result = op.forward(*(self._zeros[value.index] for value in inputs))
        except (RuntimeError, TypeError) as error:
            raise Unsupported(f"{op.name} at {self.where!r} does not fit its input: {error}") from None
        if result.shape[0] != 1:
            raise MixesBatch(f"{op.name} at {self.where!r} mixes the batch dimension with others")
        self._zeros.append(result)
        self._nodes.append(Node(op, tuple(value.index for value in inputs), tuple(result.shape[1:]), self.where))
        return Value(len(self._nodes) - 1, inputs[0].batched)

    def shape(self, x: Value) -> Shape:
        """Without the batch."""
        return self._nodes[x.index].shape

    def sizes(self, x: Value) -> Shape:
        """As the source counts them."""
        return (self.batch, *self.shape(x)) if x.batched else self.shape(x)

    def constant(self, value: Operand) -> Tensor:
        """`value` as a tensor, if it does not depend on the input."""
        if isinstance(value, Value):
            raise Unsupported(f"an argument at {self.where!r} that must be constant depends on the input")
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Unsupported(f"a constant at {self.where!r} is infinite or not a number")
        return tensor

    def indices(self, x: Value) -> Tensor:
        """Consecutive numbers in the shape of `x`, for `arrange`."""
        sizes = self.sizes(x)
        return torch.arange(math.prod(sizes), dtype=torch.float64).reshape(sizes)

    def arrange(self, x: Value, index: Tensor) -> Value:
        """`x` rearranged as its `indices` were."""
        index = index.long()
        if index.numel() == 0:
            raise Unsupported(f"the value at {self.where!r} is empty")
        if x.batched:
            count = math.prod(self.shape(x))
            shifts = torch.arange(self.batch) * count
            first = index[:1] if index.dim() else index
            if first.dim() and torch.equal(index, first + shifts.reshape(-1, *(1 for _ in first.shape[1:]))):
                index = first[0]
            else:
                x = self.unbatched(x)
        for op in operations(index, self.shape(x)):
            x = self.add(op, x)
        return x

    def move(self, x: Value, change: Callable[[Tensor], Tensor]) -> Value:
        """`x` rearranged by a function of torch that moves numbers around."""
        return self.arrange(x, change(self.indices(x)))

    def unbatched(self, x: Value) -> Value:
        """`x` with its batch dimension, of size 1, as one of its own."""
        if self.batch != 1:
            raise MixesBatch(f"{self.where!r} mixes the batch dimension with others")
        return replace(self.add(Reshape(self.sizes(x)), x), batched=False) if x.batched else x

    def batched(self, x: Value) -> Value:
        """`x` with its first dimension, which must be of size 1, as the batch."""
        if x.batched:
            return x
        if self.shape(x)[:1] != (1,):
            raise Unsupported(f"{self.where!r} needs a batch of one, not a shape of {self.shape(x)}")
        return replace(self.add(Reshape(self.shape(x)[1:]), x), batched=True)

    def broadcast(self, *values: Value) -> list[Value]:
        """Values of one shape, by the usual rules."""
        if len({(value.batched, len(self.shape(value))) for value in values}) > 1:
            values = tuple(self.unbatched(value) for value in values)
        shapes = [self.shape(value) for value in values]
        try:
            target = np.broadcast_shapes(*shapes)
        except ValueError:
            raise Unsupported(f"{self.where!r} combines shapes {' and '.join(map(str, shapes))}") from None
        return [self._expanded(value, target) for value in values]

    def _expanded(self, x: Value, shape: Shape) -> Value:
        own = self.shape(x)
        for op in operations(torch.arange(math.prod(own)).reshape(own).expand(shape), own) if own != shape else ():
            x = self.add(op, x)
        return x

    def scale(self, x: Value, scale: Operand, shift: Operand = 0.0, roundings: int = 0) -> Value:
        """scale * x + shift with constants, which may carry a batch dimension if all its entries are equal."""
        parts = [self.constant(operand).to(self._zeros[0].device) for operand in (scale, shift)]
        parts = [part if part.requires_grad else part.double() for part in parts]  # parameters stay the module's own
        count = len(self.sizes(x))
        if any(part.dim() > count or (part.dim() == count and part.shape[0] not in (1, self.batch)) for part in parts):
            x = self.unbatched(x)
        parts = [self.member(part, x) for part in parts]
        try:
            target = np.broadcast_shapes(self.shape(x), *(part.shape for part in parts))
        except ValueError:
            found = " and ".join(str(tuple(part.shape)) for part in parts if part.dim())
            raise Unsupported(
                f"a constant of shape {found} at {self.where!r} for values of shape {self.shape(x)}"
            ) from None
        return self.add(Scale(parts[0], parts[1], roundings), self._expanded(x, target))

    def member(self, constant: Tensor, x: Value) -> Tensor:
        """A constant that meets `x`, for one member of the batch."""
        if not x.batched or constant.dim() < len(self.sizes(x)):
            return constant
        if not bool((constant == constant[:1]).all()):
            raise MixesBatch(f"a constant at {self.where!r} differs within the batch")
        return constant[0]

    def sum(self, a: Operand, b: Operand) -> Value:
        if isinstance(a, Value) and isinstance(b, Value):
            return self.add(Add(), *self.broadcast(a, b))
        return self.scale(a, 1.0, b) if isinstance(a, Value) else self.scale(b, 1.0, a)

    def difference(self, a: Operand, b: Operand) -> Value:
        return self.sum(a, self.scale(b, -1.0) if isinstance(b, Value) else -self.constant(b))

    def product(self, a: Operand, b: Operand) -> Value:
        if isinstance(a, Value) and isinstance(b, Value):
            return self.add(Square(), a) if a == b else self.add(Mul(), *self.broadcast(a, b))
        return self.scale(a, b) if isinstance(a, Value) else self.scale(b, a)

    def quotient(self, a: Operand, b: Operand) -> Value:
        if isinstance(b, Value):
            return self.product(a, self.add(Reciprocal(), b))
        return self.scale(a, 1.0 / self.constant(b).double(), roundings=1)

    def total(self, x: Value, axes: Sequence[int], keepdim: bool = False) -> Value:
        """The sum over dimensions; over all if `axes` is empty."""
        x, places = self.axes(x, axes)
        added = self.add(Sum(tuple(size if axis in places else 1 for axis, size in enumerate(self.shape(x)))), x)
        left = tuple(size for axis, size in enumerate(self.shape(added)) if axis not in places)
        return added if keepdim else self.add(Reshape(left), added)

    def axes(self, x: Value, axes: Sequence[int]) -> tuple[Value, list[int]]:
        """The dimensions `axes` (all if empty) of the node's own shape; without the batch if it is one of them."""
        count = len(self.sizes(x))
        places = sorted({axis % count for axis in axes or range(count)})
        if x.batched and 0 in places:
            x = self.unbatched(x)
        return x, [place - x.batched for place in places]

    def build(self, output: Value) -> Graph:
        """The graph that ends in `output`, without the nodes it does not depend on."""
        return Graph(tuple(self._nodes[: output.index + 1])).pruned()
