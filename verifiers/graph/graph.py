"""A network as an immutable list of operations in topological order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .bivariate import Bivariate
from .elementwise import Elementwise, Relu
from .ops import LinearOp, Op, Shape, cast


@dataclass(frozen=True, eq=False)
class Node:
    """One operation on earlier nodes. inputs: their indices; shape: of its value, without the batch; label: its name
    in the module or file it came from, for messages."""

    op: Op
    inputs: tuple[int, ...]
    shape: Shape
    label: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order: node 0 is the input, the last one holds the logits."""

    nodes: tuple[Node, ...]

    @property
    def input_shape(self) -> Shape:
        return self.nodes[0].shape

    @property
    def output(self) -> int:
        return len(self.nodes) - 1

    @cached_property
    def device(self) -> torch.device:
        """Where the tensors of its operations are."""
        return self._first_tensor().device

    @property
    def num_classes(self) -> int:
        return self.nodes[-1].shape[0]

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For every node the nodes that use it (twice where they use it twice)."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in node.inputs:
                found[source].append(index)
        return tuple(tuple(users) for users in found)

    @cached_property
    def relus(self) -> tuple[int, ...]:
        """Indices of the ReLU nodes, in order."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.op, Relu))

    @cached_property
    def nonlinear(self) -> tuple[int, ...]:
        """Indices of the nodes that bounds must relax, in order."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.op, (Elementwise, Bivariate)))

    @cached_property
    def magnitudes(self) -> tuple[LinearOp | None, ...]:
        """x -> |W| x of every affine node (None for the others)."""
        return tuple(n.op.magnitude() if isinstance(n.op, LinearOp) else None for n in self.nodes)

    @cached_property
    def row_sums(self) -> tuple[Tensor | None, ...]:
        """|W| 1 of every affine node, shape (*out)."""
        sums: list[Tensor | None] = [None]
        for node, magnitude in zip(self.nodes[1:], self.magnitudes[1:], strict=True):
            ones = self._first_tensor().new_ones(1, *self.nodes[node.inputs[0]].shape)
            sums.append(None if magnitude is None else magnitude.linear(ones)[0])
        return tuple(sums)

    @cached_property
    def gains(self) -> tuple[tuple[float, float], ...]:
        """The largest entries of |W| 1 and of |b| of every affine node, zeros for the others."""
        found = []
        for node, sums in zip(self.nodes, self.row_sums, strict=True):
            offset = node.op.offset if isinstance(node.op, LinearOp) else None
            found.append(tuple(0.0 if x is None or not x.numel() else float(x.abs().max()) for x in (sums, offset)))
        return tuple((gain, largest) for gain, largest in found)

    def _first_tensor(self) -> Tensor:
        tensors = (tensor for node in self.nodes for tensor in node.op.tensors().values())
        return next(tensors, torch.zeros((), dtype=torch.float64))

    def pruned(self) -> Graph:
        """The graph without the nodes that its output does not depend on."""
        needed = {0, self.output}
        for index in range(self.output, 0, -1):
            if index in needed:
                needed.update(self.nodes[index].inputs)
        order = sorted(needed)
        place = {old: new for new, old in enumerate(order)}
        kept = (self.nodes[i] for i in order)
        return Graph(tuple(replace(node, inputs=tuple(place[j] for j in node.inputs)) for node in kept))

    def cast(self, **to: Any) -> Graph:
        """The graph with detached tensors of another type or on another device: `graph.cast(dtype=torch.float64)`."""
        return Graph(tuple(replace(node, op=cast(node.op, **to)) for node in self.nodes))

    def in_type(self, dtype: torch.dtype) -> Graph:
        """The graph with all tensors in one type, not detached: those that have it stay the module's own parameters."""
        nodes = []
        for node in self.nodes:
            tensors = {name: tensor.to(dtype) for name, tensor in node.op.tensors().items()}
            nodes.append(replace(node, op=node.op.with_tensors(**tensors)))
        return Graph(tuple(nodes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) of x (B, *input_shape)."""
        return self.values(x)[-1]

    def values(self, x: Tensor) -> list[Tensor]:
        """The value of every node for x (B, *input_shape)."""
        values = [x]
        for node in self.nodes[1:]:
            values.append(node.op.forward(*(values[i] for i in node.inputs)))
        return values
