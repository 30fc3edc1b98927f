"""What the methods that bound the Jacobian share: slopes of activations, and margins from bounds of gradients.

On the segment from x to a point x' of the ball, which the ball and the box contain, the margin changes by the integral
of its gradient times x' - x. With every entry of the gradient in [low, high] that costs at most

    sum over k of max(0, -low_k (x'_k - x_k), high_k (x_k - x'_k)),

hence at most the sum over the sides of the box around the ball, and at most radius ||max(|low|, |high|)||_q.
ReLUs have no slope at 0; any number in [0, 1] may stand there, since a continuous piecewise linear function is the
integral of its slope, which is defined almost everywhere on the segment or belongs to a neuron that rests at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.errors import Unsupported
from sokbench.core.network import Network
from sokbench.core.problem import Ball
from verifiers.bounds import margin_bounds, run_plan
from verifiers.bounds.plans import plan_of
from verifiers.bounds.propagation import other_classes
from verifiers.bounds.request import checked_inputs, checked_labels
from verifiers.bounds.rounding import gamma
from verifiers.bounds.sets.inputs import UNDERFLOW, Interval
from verifiers.graph import graph_of
from verifiers.graph.elementwise import Arctan, LeakyRelu, Relu, Sigmoid, Tanh
from verifiers.graph.graph import Graph, Node
from verifiers.graph.ops import LinearOp

_DUAL = {"l2": 2.0, "l1": math.inf}


def slope_range(node: Node, source: Interval) -> Interval:
    """The least and the largest slope of activation `node` over intervals of its input, in [0, 1], rounded outward.

    Raises `Unsupported` for other operations. Products of sigmoids are within 16 units in the last place of the slopes
    of sigmoid and tanh (two sigmoids of at most 4 each, one product; arctan needs fewer).
    """
    op, (lower, upper) = node.op, source
    if isinstance(op, (Relu, LeakyRelu)):
        left, one = lower.new_tensor(0.0 if isinstance(op, Relu) else op.slope), lower.new_ones(())
        # NaN, no bound, is neither active nor inactive
        return Interval(torch.where(lower >= 0, one, left), torch.where(upper <= 0, left, one))
    nearest = torch.where((lower > 0) | (upper < 0), torch.minimum(lower.abs(), upper.abs()), 0.0)
    farthest = torch.maximum(lower.abs(), upper.abs()).nan_to_num(math.inf)
    if isinstance(op, Sigmoid):
        low, high = (torch.sigmoid(x) * torch.sigmoid(-x) for x in (farthest, nearest))
    elif isinstance(op, Tanh):
        low, high = (4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x) for x in (farthest, nearest))
    elif isinstance(op, Arctan):
        low, high = (1 / (1 + x.square()) for x in (farthest, nearest))
    else:
        raise Unsupported(f"no bounds of the slope of {op.name} at {node.label!r}")
    return Interval((low * (1 - gamma(16))).clamp(min=0), (high * (1 + gamma(16)) + UNDERFLOW).clamp(max=1))


GradientBounds = Callable[[Graph, list[Interval], Tensor, Deadline], tuple[Tensor, Tensor]]
"""(graph, intervals of every node but the last, labels, deadline) -> lower and upper bounds (B, C - 1, *input_shape) of
the gradients of f_y - f_j for j != y ascending."""


def jacobian_margins(
    network: Network, x: Tensor, labels: Tensor, ball: Ball, plan: str, gradients: GradientBounds, deadline: Deadline
) -> Tensor:
    """Margins (B, C) from bounds of the gradients over the ball, where activations lie in the intervals of `plan`."""
    graph = graph_of(network)
    with torch.no_grad():
        labels = checked_labels(graph, x, labels)
        low, high = gradients(graph, activation_intervals(graph, x, ball, plan, deadline), labels, deadline)
        return margins_from_gradients(graph, x, labels, ball, low, high, deadline)


def activation_intervals(graph: Graph, x: Tensor, ball: Ball, plan: str, deadline: Deadline) -> list[Interval]:
    """Intervals of every node but the last, by a plan of `verifiers.bounds`. Raises `OutOfTime`, and as `bounds`."""
    found, _, complete = run_plan(graph, checked_inputs(graph, x, ball), plan_of(plan), deadline)
    if not complete:
        raise OutOfTime
    return found.intervals


def differences(graph: Graph, label: int) -> tuple[Tensor, Tensor, int]:
    """(rows, error, index): f_y - f_j = rows z + constant for j != y ascending, where z is node `index`.

    The differences are fused with the affine operations at the end. rows, error: (C - 1, *shape); an entry of a row is
    wrong by at most its error.
    """
    unit = torch.eye(graph.num_classes, dtype=torch.float64)
    rows = unit[label] - unit[other_classes(torch.tensor([label]), graph.num_classes)[0]]
    error, index = torch.zeros_like(rows), graph.output
    while isinstance(op := graph.nodes[index].op, LinearOp):
        index = graph.nodes[index].inputs[0]
        shape, size = graph.nodes[index].shape, op.magnitude()
        bound = gamma(2 * (op.terms + op.rounded) + 8)
        error = size.adjoint(error + bound * (rows.abs() + error), shape) + UNDERFLOW
        rows = op.adjoint(rows, shape)
        if len(graph.consumers[index]) > 1:
            break
    return rows, error, index


def margins_from_gradients(
    graph: Graph, x: Tensor, labels: Tensor, ball: Ball, low: Tensor, high: Tensor, deadline: Deadline
) -> Tensor:
    """Margins (B, C) from bounds (B, C - 1, *input_shape) of the gradients of f_y - f_j for j != y ascending."""
    centre = x.detach().double().cpu()
    hull = checked_inputs(graph, x, ball).interval()
    infinity = centre.new_tensor(math.inf)
    up = torch.nextafter(hull.upper - centre, infinity)[:, None]
    down = torch.nextafter(centre - hull.lower, infinity)[:, None]
    entries = centre[0].numel()
    lost = torch.maximum(-low * up, high * down).clamp(min=0).flatten(2).sum(dim=2)
    if ball.norm in _DUAL:
        size = torch.maximum(low.abs(), high.abs()).flatten(2)
        norm: Tensor = torch.linalg.vector_norm(size, ord=_DUAL[ball.norm], dim=2)
        lost = torch.minimum(lost, ball.radius * (norm + UNDERFLOW))
    # gradients that are not known (NaN) lose everything
    lost = torch.nan_to_num(lost * (1 + gamma(entries + 8)) + UNDERFLOW, nan=math.inf)
    clean = margin_bounds(graph, x, labels, Ball("linf", 0.0), "ibp", deadline)
    others = other_classes(labels.long().cpu(), graph.num_classes)
    full = torch.zeros_like(clean).scatter(1, others, lost)
    below = torch.nextafter(clean - full, torch.full_like(clean, -math.inf))
    return torch.where(clean == math.inf, clean, below)  # j = y
