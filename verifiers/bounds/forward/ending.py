"""The differences of classes as functions of the last nonlinear node."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

from ..propagation import other_classes
from ..rounding import Outward
from ..sets.inputs import Interval


class Ending(NamedTuple):
    """f_y - f_j >= rows z + constants - slack for j != y ascending; rows (C - 1, *shape), the others (C - 1,)."""

    rows: Tensor
    constants: Tensor
    slack: Tensor


def last_nonlinear(graph: Graph) -> int:
    """The node after which only affine operations follow, one on the other; 0 for an affine network."""
    index = graph.output
    while isinstance(graph.nodes[index].op, LinearOp):
        index = graph.nodes[index].inputs[0]
        if len(graph.consumers[index]) > 1:
            break
    return index


def ending(graph: Graph, label: int, intervals: list[Interval]) -> Ending:
    """The differences, fused with the affine operations at the end, on z = node `last_nonlinear(graph)`.

    intervals: of every node but the last, (1, *shape), for what rounding may lose.
    """
    rounding, end, index = Outward(), last_nonlinear(graph), graph.output
    unit = torch.eye(graph.num_classes, dtype=torch.float64)
    rows = unit[label] - unit[other_classes(torch.tensor([label]), graph.num_classes)[0]]
    constants, slack = rows.new_zeros(len(rows)), rows.new_zeros(len(rows))
    while index != end:
        rows, constants, slack = pulled(graph, index, Ending(rows, constants, slack), intervals, rounding)
        index = graph.nodes[index].inputs[0]
    return Ending(rows, constants, slack)


def pulled(graph: Graph, index: int, known: Ending, intervals: list[Interval], rounding: Outward) -> Ending:
    """Functions of affine node `index` as functions of its input."""
    node, (rows, constants, slack) = graph.nodes[index], known
    assert isinstance(node.op, LinearOp)
    (source,) = node.inputs
    norm, size = rows.abs().flatten(1).sum(dim=1), rounding.size(*intervals[source])
    slack = slack + rounding.affine(graph, index, norm, size)
    if node.op.offset is not None:
        constants = constants + rows.flatten(1) @ node.op.offset.expand(node.shape).flatten()
        slack = slack + rounding.added(constants)
    return Ending(node.op.adjoint(rows, graph.nodes[source].shape), constants, slack)
