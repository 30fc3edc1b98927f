"""Values times a function of themselves, as exporters write activations that have names of their own.

x sigmoid(r x) = SiLU(r x) / r, and x (1 + erf(r x)) = sqrt(2) / r GELU(sqrt(2) r x): the same functions, whose lines as
one curve are far tighter than those of a product of two nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

import torch
from torch import Tensor

from ..bivariate import Mul
from ..elementwise import Elementwise, Erf, Gelu, Sigmoid, Silu
from ..graph import Graph, Node
from ..linear import Scale
from ..ops import Op

_DIGITS = 50


@dataclass(frozen=True)
class _Multiple:
    """A node as factor * node `base`."""

    base: int
    factor: Decimal = Decimal(1)
    roundings: int = 0


@dataclass(frozen=True)
class _Gated:
    """outer * curve(inner * node `base`)."""

    base: int
    curve: Elementwise
    inner: Decimal
    outer: Decimal
    roundings: int


def with_gates(graph: Graph) -> Graph:
    """`graph` with SiLU and GELU where they were written as products; the same graph if none was."""
    found = {index: gated for index in range(len(graph.nodes)) if (gated := _gated(graph, index)) is not None}
    if not found:
        return graph
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        if index in found:
            gated, source = found[index], place[found[index].base]
            for op in (_scale(gated.inner, gated.roundings), gated.curve, _scale(gated.outer, gated.roundings)):
                nodes.append(replace(node, op=op, inputs=(source,)))
                source = len(nodes) - 1
        else:
            nodes.append(replace(node, inputs=tuple(place[source] for source in node.inputs)))
        place[index] = len(nodes) - 1
    return Graph(tuple(nodes)).pruned()


def _gated(graph: Graph, index: int) -> _Gated | None:
    if not isinstance(graph.nodes[index].op, Mul):
        return None
    first, second = graph.nodes[index].inputs
    for value, gate in ((first, second), (second, first)):
        height, curve = _gate(graph, gate)
        if curve is None or graph.nodes[value].shape != graph.nodes[index].shape:
            continue
        for x in _multiples(graph, value):
            for argument in _multiples(graph, graph.nodes[curve].inputs[0]):
                if x.base == argument.base and argument.factor:
                    return _named(graph.nodes[curve].op, x, argument, height)
    return None


def _gate(graph: Graph, index: int) -> tuple[Decimal, int | None]:
    """(k, the node of sigmoid or erf) if node `index` is k sigmoid or k (1 + erf), exactly."""
    node, height, shift = graph.nodes[index], Decimal(1), Decimal(0)
    if isinstance(node.op, Scale):
        scale, offset = _number(node.op.scale), _number(node.op.shift)
        if scale is None or offset is None or node.op.roundings:
            return height, None
        height, shift, index = scale, offset, node.inputs[0]
        node = graph.nodes[index]
    wanted = height if isinstance(node.op, Erf) else Decimal(0)
    return height, index if isinstance(node.op, (Erf, Sigmoid)) and shift == wanted else None


def _multiples(graph: Graph, index: int) -> list[_Multiple]:
    node, found = graph.nodes[index], [_Multiple(index)]
    if isinstance(node.op, Scale) and not bool(node.op.shift.any()):
        factor = _number(node.op.scale)
        found += [] if factor is None else [_Multiple(node.inputs[0], factor, node.op.roundings)]
    return found


def _named(op: Op, x: _Multiple, argument: _Multiple, height: Decimal) -> _Gated:
    roundings = x.roundings + argument.roundings + 1
    with localcontext(prec=_DIGITS):
        root = Decimal(2).sqrt() if isinstance(op, Erf) else Decimal(1)
        inner, outer = root * argument.factor, root * x.factor * height / argument.factor
    return _Gated(x.base, Gelu() if isinstance(op, Erf) else Silu(), inner, outer, roundings)


def _number(values: Tensor) -> Decimal | None:
    """The one number that all entries are."""
    flat = values.detach().double().flatten()
    return Decimal(float(flat[0])) if bool((flat == flat[0]).all()) else None


def _scale(factor: Decimal, roundings: int) -> Scale:
    exact = factor == Decimal(float(factor)) and roundings == 1
    number = torch.tensor(float(factor), dtype=torch.float64)
    return Scale(number, torch.zeros_like(number), 0 if exact else roundings)
