"""Maxima as ReLUs, for verifiers that branch on ReLUs: max(a, b) = a + relu(b - a).

Absolute value, leaky ReLU and clamp are maxima too: |x| = max(-x, x), max(slope x, x), and -max(-max(x, low), -high).
The functions are the same in real arithmetic, save for what `Scale.rounded` counts; bounds are looser than those from
relaxations of a maximum itself.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ..bivariate import Max
from ..elementwise import Abs, Clamp, LeakyRelu, Relu
from ..graph import Graph, Node
from ..linear import Scale
from ..ops import Add, Op


def max_to_relu(graph: Graph) -> Graph:
    """`graph` without `Max`, `Abs`, `LeakyRelu` and `Clamp` nodes; the same graph if it has none."""
    if not any(isinstance(node.op, (Max, Abs, LeakyRelu, Clamp)) for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        place[index] = _Rewriting(nodes, node).append(*(place[source] for source in node.inputs))
    return Graph(tuple(nodes))


class _Rewriting:
    """One node being written in terms of others, at the end of `nodes`."""

    def __init__(self, nodes: list[Node], node: Node) -> None:
        self._nodes, self._node = nodes, node

    def append(self, *inputs: int) -> int:
        op = self._node.op
        x = inputs[0] if inputs else 0
        match op:
            case Max():
                difference = self._add(Add(), inputs[1], self._scaled(x, -1.0))
                return self._add(Add(), x, self._add(Relu(), difference))
            case Abs():
                return self._add(Add(), self._scaled(x, -1.0), self._add(Relu(), self._scaled(x, 2.0)))
            case LeakyRelu():
                rest = self._add(Relu(), self._scaled(x, 1.0 - op.slope, roundings=1))
                return self._add(Add(), self._scaled(x, op.slope), rest)
            case Clamp():
                above = self._add(Relu(), self._scaled(x, 1.0, -op.low))  # max(x, low) - low
                below = self._add(Relu(), self._scaled(above, -1.0, op.high - op.low, roundings=1))
                return self._scaled(below, -1.0, op.high)
        return self._add(op, *inputs)

    def _add(self, op: Op, *inputs: int) -> int:
        self._nodes.append(replace(self._node, op=op, inputs=inputs))
        return len(self._nodes) - 1

    def _scaled(self, x: int, scale: float, shift: float = 0.0, roundings: int = 0) -> int:
        factor, offset = (torch.tensor(value, dtype=torch.float64) for value in (scale, shift))
        return self._add(Scale(factor, offset, roundings), x)
