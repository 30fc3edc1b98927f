"""From a graph as it was written to the one that is bounded: float64 weights, batch norm folded, no dead weight.

Bounds are claimed for the network's own weights in real arithmetic, so what folding rounds is counted: the scale of
a batch norm is computed with 200 decimal digits, and the folded operation says how many float64 roundings separate
each entry of its weights from the exact product (`LinearOp.rounded`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import TypeGuard

import torch
from torch import Tensor

from .convolution import Conv2d
from .graph import Graph, Node
from .linear import Linear, Scale
from .ops import BatchNorm, Op, cast

_DIGITS = 200
_EXACT = {"dtype": torch.float64, "device": "cpu"}


@dataclass(frozen=True)
class _ChannelMap:
    """x_c -> scale_c x_c + shift_c, exact to 200 digits."""

    scale: list[Decimal]
    shift: list[Decimal]


def simplify(graph: Graph) -> Graph:
    """The same network in float64, detached from the module, with batch norms folded into the layer before them."""
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        inputs = tuple(place[i] for i in node.inputs)
        alone = bool(inputs) and len(graph.consumers[node.inputs[0]]) == 1
        merged = _merged(nodes[inputs[0]], node) if alone else None
        if merged is not None:
            nodes[inputs[0]] = merged
            place[index] = inputs[0]
            continue
        op = (
            _as_scale(_batch_norm_map(node.op), len(node.shape))
            if isinstance(node.op, BatchNorm)
            else cast(node.op, **_EXACT)
        )
        place[index] = len(nodes)
        nodes.append(replace(node, op=op, inputs=inputs))
    return Graph(tuple(nodes))


def _merged(before: Node, node: Node) -> Node | None:
    """`before` and the node after it as one, where that is the same function; None where it is not."""
    if isinstance(node.op, BatchNorm) and _foldable(before.op, node):
        return replace(before, op=_fold(before.op, _batch_norm_map(node.op)))
    if isinstance(node.op, Scale) and bool((node.op.scale == 1).all()) and node.op.roundings == 0:
        shift = node.op.shift
        if not bool(shift.any()):
            return before
        # x W + b, as exporters write a linear layer: the bias moves into it, exactly
        per_unit = shift.shape[-1:] == (shift.numel(),) == node.shape[-1:]
        if isinstance(before.op, Linear) and before.op.bias is None and per_unit:
            return replace(before, op=replace(before.op, bias=shift.detach().double().cpu().reshape(-1)))
    return None


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
