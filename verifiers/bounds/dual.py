"""The dual network of Wong and Kolter (2018): bounds as objectives of a feasible point of the linear program's dual.

The adversarial problem min c z over the ReLU triangles is a linear program. For any value of the free dual variables
its dual has the objective, their theorem 1,

    J(nu) = - sum nu b - max over the input set of nu_1 x + sum over unstable neurons of l [nu]_+,

where nu runs backwards through the network: nu = -c at the end, W^T nu through an affine layer, and through a ReLU
multiplied by 0 (u <= 0), 1 (l >= 0) or the leaky slope u / (u - l). So each bound costs one backward pass of a network
that looks like the first one. By weak duality every J is a lower bound.

In floating point nu is feasible up to rounding only. Each step errs, as a function of the values z of a layer, as a
step of back-substitution does, and the same terms are subtracted (`verifiers.bounds.rounding`). Through a ReLU the
height of the chord at 0, -l u / (u - l), is taken with the slope as rounded.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp, one_hot

from .interval import propagate
from .propagation import from_ball, other_classes
from .relaxations.relu import relu_parallel
from .rounding import Outward
from .sets.inputs import InputSet, Interval
from .state import Bounds

_BYTES = 1 << 26  # of the rows of one backward pass
_COPIES = 6


def dual_bounds(graph: Graph, inputs: InputSet, deadline: Deadline) -> tuple[Bounds, bool]:
    """(intervals of all nodes but the last, whether all were found before the deadline).

    Interval bounds are computed everywhere; entries that a ReLU may turn off or on are bounded by the dual network, and
    the better bound is kept. Raises `Unsupported` for operations other than affine ones, sums and ReLUs.
    """
    bounds = Bounds(graph, inputs, Outward())
    bounds.append(inputs.interval())
    ball, complete = inputs.ball, True
    centres = {} if ball is None else {0: ball[0]}
    for index, node in enumerate(graph.nodes[:-1]):
        if index == 0:
            continue
        if not isinstance(node.op, (LinearOp, Add, Relu)):
            raise Unsupported(f"the dual network has no {node.op.name} ({node.label!r})")
        sources = [bounds.intervals[i] for i in node.inputs]
        size = partial(bounds.rounding.size, *sources[0])
        interval = propagate(graph, index, sources, graph.magnitudes[index], size, bounds.rounding)
        if ball is not None and node.inputs[0] in centres:
            interval = from_ball(bounds, index, centres, ball, interval)
        bounds.append(interval)
        if any(isinstance(graph.nodes[user].op, Relu) for user in graph.consumers[index]):
            complete = _refine(bounds, index, deadline) and complete
    return bounds, complete


def dual_margins(bounds: Bounds, labels: Tensor) -> Tensor:
    """Lower bounds (B, C - 1) of f_y - f_j for j != y ascending."""
    graph = bounds.graph
    unit = torch.eye(graph.num_classes, dtype=torch.float64)
    others = other_classes(labels, graph.num_classes)
    rows = [unit[label] - unit[other] for label, other in zip(labels, others, strict=True)]
    return torch.stack([objective(bounds, sample, graph.output, c) for sample, c in enumerate(rows)])


def _refine(bounds: Bounds, index: int, deadline: Deadline) -> bool:
    lower, upper = (side.flatten(1).clone() for side in bounds.intervals[index])
    shape = bounds.graph.nodes[index].shape
    widest = max(math.prod(node.shape) for node in bounds.graph.nodes[: index + 1])
    at_once = max(1, _BYTES // (_COPIES * 8 * widest))
    unstable = ~(lower >= 0) & ~(upper <= 0)
    for sample in unstable.any(dim=1).nonzero().flatten().tolist():
        for part in torch.split(unstable[sample].nonzero().squeeze(1), at_once):
            if deadline.expired():
                return False
            rows = one_hot(part, shape, lower.dtype)
            lower[sample, part] = torch.fmax(lower[sample, part], objective(bounds, sample, index, rows))
            upper[sample, part] = torch.fmin(upper[sample, part], -objective(bounds, sample, index, -rows))
    bounds.replace(index, Interval(lower.reshape(-1, *shape), upper.reshape(-1, *shape)))
    return True


def objective(bounds: Bounds, sample: int, index: int, c: Tensor) -> Tensor:
    """J for the functions c z of node `index`, c (K, *shape), of one input: lower bounds (K,), rounded down."""
    graph, rounding, owner = bounds.graph, Outward(), slice(sample, sample + 1)

    def size_of(node: int) -> Tensor:
        return torch.as_tensor(rounding.size(*(side[owner] for side in bounds.intervals[node])))

    pending = {index: -c}
    value, slack = c.new_zeros(len(c)), c.new_zeros(len(c))
    for position in range(index, 0, -1):
        if position not in pending:
            continue
        nu, node = pending.pop(position), graph.nodes[position]
        norm, source = _norm(nu), node.inputs[0]
        size = size_of(source)
        if isinstance(node.op, LinearOp):
            if node.op.offset is not None:
                value = value - nu.flatten(1) @ node.op.offset.expand(node.shape).flatten()
            slack = slack + rounding.affine(graph, position, norm, size)
            passed = node.op.adjoint(nu, graph.nodes[source].shape)
        elif isinstance(node.op, Relu):
            lower, upper = (side[owner] for side in bounds.intervals[source])
            _, _, slope, height = relu_parallel(lower, upper)
            value = value - nu.clamp(min=0).flatten(1) @ height.flatten()
            slack = slack + rounding.relaxed(nu[0].numel(), norm, size, 1.0, rounding.size(height, height))
            passed = nu * slope
        else:
            passed = nu
        slack = slack + rounding.added(value)
        for before in node.inputs:
            if before in pending:
                pending[before] = pending[before] + passed
                slack = slack + rounding.merged(_norm(pending[before]), size_of(before))
            else:
                pending[before] = passed
    if 0 in pending:
        rows = -pending[0]
        value = value + bounds.inputs.concretize(rows[None, None], value.new_full((1, 1, 1), -1.0), owner)[0, 0]
        size = bounds.inputs.size()[owner]
        slack = slack + rounding.concretized(rows[0].numel(), _norm(rows), size) + rounding.added(value)
    return rounding.outward(value, slack, -1.0)


def _norm(nu: Tensor) -> Tensor:
    return nu.abs().flatten(1).sum(dim=1)
