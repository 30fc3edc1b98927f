"""From a graph as it was written to the one that is bounded: float64 weights, batch norm folded, nothing idle.

Bounds are claimed for the network's own weights in real arithmetic, so what folding rounds is counted: the scale of
a batch norm is computed with 200 decimal digits, and the folded operation says how many float64 roundings separate
each entry of its weights from the exact product (`LinearOp.rounded`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import TypeGuard

import torch
from torch import Tensor

from ..arrangement import Expand, Pad, Permute, Reshape, Sum
from ..convolution import Conv2d
from ..graph import Graph, Node
from ..linear import Linear, Scale
from ..ops import BatchNorm, Op, Shape
from .gates import with_gates

_DIGITS = 200
_EXACT = {"dtype": torch.float64, "device": "cpu"}


@dataclass(frozen=True)
class _ChannelMap:
    """x_c -> scale_c x_c + shift_c, exact to 200 digits."""

    scale: list[Decimal]
    shift: list[Decimal]


def simplify(graph: Graph) -> Graph:
    """The same network in float64, detached from the module, with batch norms folded into the layer before them and
    operations that follow each other merged where one does the work of both."""
    graph = _shrunk(graph.cast(**_EXACT))
    gated = with_gates(graph)
    return graph if gated is graph else _shrunk(gated)


def _shrunk(graph: Graph) -> Graph:
    before = len(graph.nodes) + 1
    while len(graph.nodes) < before:
        before = len(graph.nodes)
        graph = _with_merged(_without_idle(graph))
    return graph


def _without_idle(graph: Graph) -> Graph:
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        inputs = tuple(place[i] for i in node.inputs)
        if inputs and _is_idle(node.op, graph.nodes[node.inputs[0]].shape):
            place[index] = inputs[0]
        else:
            place[index] = len(nodes)
            nodes.append(replace(node, inputs=inputs))
    return Graph(tuple(nodes))


def _is_idle(op: Op, shape: Shape) -> bool:
    """Whether values of this shape pass unchanged."""
    match op:
        case Reshape():
            return op.shape == shape
        case Permute():
            return op.order == tuple(range(len(shape)))
        case Scale():
            return bool((op.scale == 1).all()) and not bool(op.shift.any()) and op.roundings == 0
        case Expand() | Sum():
            return op.terms == 1
    return False


def _with_merged(graph: Graph) -> Graph:
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        inputs = tuple(place[i] for i in node.inputs)
        alone = bool(inputs) and len(graph.consumers[node.inputs[0]]) == 1
        merged = _merged(nodes[inputs[0]], node) if alone else None
        if merged is not None:
            nodes[inputs[0]] = replace(nodes[inputs[0]], op=merged, shape=node.shape)
            place[index] = inputs[0]
            continue
        op = _as_scale(_batch_norm_map(node.op), len(node.shape)) if isinstance(node.op, BatchNorm) else node.op
        place[index] = len(nodes)
        nodes.append(replace(node, op=op, inputs=inputs))
    return Graph(tuple(nodes))


def _merged(before: Node, node: Node) -> Op | None:
    """The operation of `before` and the node after it as one; None where there is none."""
    first, second = before.op, node.op
    if isinstance(second, BatchNorm) and _foldable(first, node):
        return _fold(first, _batch_norm_map(second))
    if isinstance(second, Scale) and isinstance(first, (Linear, Conv2d)) and first.bias is None:
        # a bias in a node of its own, as exporters write it, moves into the layer exactly
        shift, plain = second.shift, bool((second.scale == 1).all()) and second.roundings == 0
        units = node.shape[-1:] if isinstance(first, Linear) else (node.shape[0], 1, 1)
        per_unit = shift.numel() == math.prod(units) and shift.shape[-len(units) :] == units
        return replace(first, bias=shift.reshape(-1)) if plain and per_unit else None
    if isinstance(second, Scale) and isinstance(first, Scale):
        return _product(first, second)
    if isinstance(second, Reshape) and isinstance(first, Reshape):
        return second
    if isinstance(second, Permute) and isinstance(first, Permute):
        return Permute(tuple(first.order[axis] for axis in second.order))
    if isinstance(second, Conv2d) and isinstance(first, Pad):
        (channels, top, left), even = first.before, first.before == first.after
        padding = (second.padding[0] + top, second.padding[1] + left)
        return replace(second, padding=padding) if even and channels == 0 <= min(top, left) else None
    return None


def _product(first: Scale, second: Scale) -> Scale | None:
    """second(first(x)) as one operation; None where a sum of shifts would have to be rounded."""
    if bool(first.shift.any()) and bool(second.shift.any()):
        return None
    exact = any(bool((op.scale.abs() == 1).all()) for op in (first, second))
    roundings = first.roundings + second.roundings + (0 if exact else 1)
    return Scale(first.scale * second.scale, first.shift * second.scale + second.shift, roundings)


def _foldable(before: Op, node: Node) -> TypeGuard[Linear | Conv2d]:
    """Whether the channels of the batch norm at `node` are the rows of the weight before it."""
    return isinstance(before, Conv2d) or (isinstance(before, Linear) and len(node.shape) == 1)


def _batch_norm_map(op: BatchNorm) -> _ChannelMap:
    with localcontext(prec=_DIGITS):
        scale = [
            w / (v + Decimal(op.eps)).sqrt() for w, v in zip(_decimals(op.weight), _decimals(op.variance), strict=True)
        ]
        shift = [b - m * s for b, m, s in zip(_decimals(op.bias), _decimals(op.mean), scale, strict=True)]
    return _ChannelMap(scale, shift)


def _fold(op: Linear | Conv2d, after: _ChannelMap) -> Linear | Conv2d:
    """after(W x + b) as one operation. Weights are rounded twice (the scale, the product), biases once."""
    scale = _tensor(after.scale)
    weight = op.weight.detach().double().cpu()
    before = [Decimal(0)] * len(after.scale) if op.bias is None else _decimals(op.bias)
    with localcontext(prec=_DIGITS):
        bias = [b * s + t for b, s, t in zip(before, after.scale, after.shift, strict=True)]
    per_row = scale.reshape(-1, *(1 for _ in weight.shape[1:]))
    return replace(op, weight=weight * per_row, bias=_tensor(bias), roundings=op.roundings + 2)


def _as_scale(channel_map: _ChannelMap, dimensions: int) -> Scale:
    shape = (-1, *(1 for _ in range(dimensions - 1)))
    return Scale(_tensor(channel_map.scale).reshape(shape), _tensor(channel_map.shift).reshape(shape), roundings=1)


def _decimals(values: Tensor) -> list[Decimal]:
    return [Decimal(value) for value in values.detach().double().cpu().tolist()]


def _tensor(values: list[Decimal]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
