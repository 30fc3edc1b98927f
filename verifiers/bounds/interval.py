"""Interval bound propagation, one node at a time (Gowal et al. 2018, in centre and radius form)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from .relaxations.nonlinear import image
from .rounding import Rounding, Size
from .sets.inputs import UNDERFLOW, Interval


def propagate(
    graph: Graph,
    index: int,
    inputs: list[Interval],
    magnitude: LinearOp | None,
    size: Callable[[], Size],
    rounding: Rounding,
) -> Interval:
    """Bounds of node `index` from bounds of its inputs.

    magnitude: x -> |W| x where the node is affine; size: of its input, for the rounding error.
    Raises `Unsupported` for an operation without an interval rule.
    """
    node = graph.nodes[index]
    lower, upper = inputs[0]
    if isinstance(node.op, (Reshape, Permute)):
        return Interval(node.op.linear(lower), node.op.linear(upper))
    if isinstance(node.op, Add):
        lower, upper = lower + inputs[1].lower, upper + inputs[1].upper
        return Interval(rounding.outward(lower, 0.0, -1.0), rounding.outward(upper, 0.0, 1.0))
    if isinstance(node.op, LinearOp) and magnitude is not None:
        middle = lower.lerp(upper, 0.5)
        centre = node.op.forward(middle)
        radius = magnitude.linear(upper - middle) + rounding.image(graph, index, size())
        return Interval(centre - radius, centre + radius)
    return image(node, inputs)


def ball_image(
    graph: Graph, index: int, centre: Tensor, radius: Tensor, q: float, size: Size, rounding: Rounding
) -> Interval | None:
    """W centre + b -+ radius ||W_j||_q: the exact range of an affine node over an l_p ball, q dual to p.

    radius: (B,); size: at least |centre| + radius. None for an operation whose row norms are not at hand.
    """
    op = graph.nodes[index].op
    norms = op.row_norms(q, graph.nodes[graph.nodes[index].inputs[0]].shape) if isinstance(op, LinearOp) else None
    if norms is None:
        return None
    value = op.forward(centre)
    reach = radius.reshape(-1, *(1 for _ in value.shape[1:])) * (norms + UNDERFLOW) + rounding.image(graph, index, size)
    return Interval(value - reach, value + reach)


def meet(a: Interval, b: Interval) -> Interval:
    """The better bound on either side; NaN stands for no bound."""
    return Interval(torch.fmax(a.lower, b.lower), torch.fmin(a.upper, b.upper))
