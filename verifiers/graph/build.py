"""Building a graph node by node: what the readers of torch modules and of ONNX files share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from .graph import Graph, Node
from .ops import Add, Input, Op, Permute, Reshape, Scale, Shape


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: node `index` of the graph being built."""

    index: int


Operand = Any
"""A `Value`, or a constant: a tensor or a number."""


class Builder:
    """Collects nodes; infers shapes by running each operation once on zeros.

    `where` names the place in the module or file, for messages. All methods raise `Unsupported` for operations that
    do not fit their inputs, mix the batch with other dimensions, or combine variables in a way that is not known.
    """

    def __init__(self, input_shape: Shape, dtype: torch.dtype = torch.float32) -> None:
        self._nodes: list[Node] = [Node(Input(), (), tuple(input_shape), "input")]
        self._zeros: list[Tensor] = [torch.zeros(1, *input_shape, dtype=dtype)]

    def add(self, op: Op, where: str, *inputs: Operand) -> Value:
        """Append a node on `inputs`, which must all be values."""
        if not all(isinstance(value, Value) for value in inputs):
            raise Unsupported(f"{op.name} at {where!r} of a constant")
        try:
            with torch.no_grad():
                result = op.forward(*(self._zeros[value.index] for value in inputs))
        except (RuntimeError, TypeError) as error:
            raise Unsupported(f"{op.name} at {where!r} does not fit its input: {error}") from None
        if result.shape[0] != 1:
            raise Unsupported(f"{op.name} at {where!r} mixes the batch dimension with others")
        self._zeros.append(result)
        self._nodes.append(Node(op, tuple(value.index for value in inputs), tuple(result.shape[1:]), where))
        return Value(len(self._nodes) - 1)

    def shape(self, value: Value) -> Shape:
        return self._nodes[value.index].shape

    def constant(self, value: Operand, where: str) -> Tensor:
        """`value` as a tensor, if it does not depend on the input."""
        if isinstance(value, Value):
            raise Unsupported(f"an argument at {where!r} that must be constant depends on the input")
        return torch.as_tensor(value)

    def scale(self, x: Value, scale: Operand, shift: Operand, where: str, roundings: int = 0) -> Value:
        """scale * x + shift with constants, which may carry a batch dimension if all its entries are equal."""
        shape = self.shape(x)
        parts = []
        for operand in (scale, shift):
            constant = self.constant(operand, where).double()
            if constant.dim() == len(shape) + 1 and bool((constant == constant[:1]).all()):
                constant = constant[0]
            try:
                constant.expand(shape)
            except RuntimeError:
                found = tuple(constant.shape)
                raise Unsupported(f"a constant of shape {found} at {where!r} for values of shape {shape}") from None
            parts.append(constant)
        return self.add(Scale(parts[0], parts[1], roundings), where, x)

    def sum(self, a: Operand, b: Operand, where: str) -> Value:
        if isinstance(a, Value) and isinstance(b, Value):
            if self.shape(a) != self.shape(b):
                raise Unsupported(f"the sum at {where!r} of shapes {self.shape(a)} and {self.shape(b)}")
            return self.add(Add(), where, a, b)
        return self.scale(a, 1.0, b, where) if isinstance(a, Value) else self.scale(b, 1.0, a, where)

    def difference(self, a: Operand, b: Operand, where: str) -> Value:
        negative = self.scale(b, -1.0, 0.0, where) if isinstance(b, Value) else -torch.as_tensor(b)
        return self.sum(a, negative, where)

    def product(self, a: Operand, b: Operand, where: str) -> Value:
        if isinstance(a, Value) and isinstance(b, Value):
            raise Unsupported(f"the product of two variables at {where!r}")
        return self.scale(a, b, 0.0, where) if isinstance(a, Value) else self.scale(b, a, 0.0, where)

    def quotient(self, x: Value, divisor: Operand, where: str) -> Value:
        if isinstance(divisor, Value):
            raise Unsupported(f"division by a variable at {where!r}")
        return self.scale(x, 1.0 / torch.as_tensor(divisor, dtype=torch.float64), 0.0, where, roundings=1)

    def reshape(self, x: Value, sizes: Sequence[int], batch: int, where: str) -> Value:
        """To `sizes`, batch dimension included, as they were given for a batch of `batch`."""
        shape = torch.empty(batch, *self.shape(x), device="meta").reshape(tuple(sizes)).shape
        if len(shape) < 2 or shape[0] != batch:
            raise Unsupported(f"reshape at {where!r} to {tuple(sizes)} mixes the batch dimension with others")
        return self.add(Reshape(tuple(shape[1:])), where, x)

    def permute(self, x: Value, order: Sequence[int], where: str) -> Value:
        """To the order of dimensions `order`, batch included."""
        axes = [axis % (len(self.shape(x)) + 1) for axis in order]
        if axes[0] != 0:
            raise Unsupported(f"permute at {where!r} moves the batch dimension")
        return self.add(Permute(tuple(axis - 1 for axis in axes[1:])), where, x)

    def build(self, output: Value) -> Graph:
        """The graph that ends in `output`, without the nodes it does not depend on."""
        needed = {0, output.index}
        for index in range(output.index, 0, -1):
            if index in needed:
                needed.update(self._nodes[index].inputs)
        order = sorted(needed)
        place = {old: new for new, old in enumerate(order)}
        kept = [self._nodes[i] for i in order]
        return Graph(tuple(replace(node, inputs=tuple(place[j] for j in node.inputs)) for node in kept))


def pair(value: Any) -> tuple[int, int]:
    """(height, width) from one number or two."""
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])
