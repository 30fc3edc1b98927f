"""Quadratic bounds of the last hidden layer, minimised over the inputs of the layer before (CROWN, section 3.3).

A margin is a sum over neurons of a relu(y), y = W w + b. Where a < 0 the chord bounds the neuron from above. Where
a > 0 a convex parabola bounds it from below: q(y) = y (y - l) / (u - l), which is 0 at l and 0 and u at u. (A convex q
stays below ReLU on [l, u] if it does at l, 0 and u, since q and q - y are convex.) The sum is a convex quadratic in w,
where w is the input of the network if it has two layers, and otherwise the values of the activation before, known to
lie in their intervals. It is minimised by accelerated projected gradients; the paper projects plainly, with Armijo
steps.

What is published does not rest on the minimiser. A tangent of q at any t lies below q, so slopes (2 t - l) / (u - l)
and offsets -t^2 / (u - l) give a linear function that bounds the margin from below, and its minimum over the set is
taken as in back-substitution, rounding included. At the minimiser the tangents' bound equals the minimum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

from ..relaxations.relu import relu_parallel
from ..rounding import Outward, gamma
from ..sets.inputs import InputSet, Interval
from .ending import Ending, ending, last_nonlinear, pulled
from .projection import Project, onto_box

_POWER_STEPS = 8
_CHECKS = 10  # iterations between two looks at the gap
_GAP = 1e-6  # relative to 1 + |margin|: closer than that the minimum is found


class Quadratic:
    """The K quadratics of one input's margins.

    intervals: of every node but the last, (1, *shape). Raises `Unsupported` unless the network ends in a ReLU on affine
    operations, followed by affine operations only.
    """

    def __init__(self, graph: Graph, intervals: list[Interval], label: int) -> None:
        self._graph, self._intervals, self._rounding = graph, intervals, Outward()
        relu = last_nonlinear(graph)
        node = graph.nodes[relu]
        if not isinstance(node.op, Relu):
            raise Unsupported(f"quadratic bounds need a ReLU before the end, not {node.op.name} at {node.label!r}")
        self._last = ending(graph, label, intervals)
        self._steps: list[int] = []
        self.source = node.inputs[0]
        while isinstance(graph.nodes[self.source].op, LinearOp):
            self._steps.insert(0, self.source)
            self.source = graph.nodes[self.source].inputs[0]
        before = intervals[node.inputs[0]]
        self._lower, self._upper = before.lower[0], before.upper[0]
        unstable = (self._lower < 0) & (self._upper > 0)
        width = torch.where(unstable, self._upper - self._lower, 1.0)
        lines = relu_parallel(*before)
        self._chord, self._height = lines.upper_slope[0], lines.upper_offset[0]
        # second and first derivative at 0 of what stands for each neuron in each margin, without the rows' factor
        self._curved = ((self._last.rows > 0) & unstable).to(width.dtype) / width
        self._slope = torch.where(self._curved > 0, -self._lower / width, self._chord)

    def _inner(self, w: Tensor) -> Tensor:
        for index in self._steps:
            w = self._graph.nodes[index].op.forward(w)
        return w

    def _adjoint(self, rows: Tensor) -> Tensor:
        for index in reversed(self._steps):
            op, source = self._graph.nodes[index].op, self._graph.nodes[index].inputs[0]
            assert isinstance(op, LinearOp)
            rows = op.adjoint(rows, self._graph.nodes[source].shape)
        return rows

    def minimise(self, inputs: InputSet, owner: slice, project: Project, limit: int, deadline: Deadline) -> Tensor:
        """Lower bounds (K,) of the margins: of tangents at the best points found on the way to the minimisers.

        project: onto the input set of `owner`, used where the network has two layers.
        """
        lower, upper = self._intervals[self.source]
        if self.source:
            project = onto_box(Interval(lower, upper))
        start = project((lower + upper) / 2)

        def bound(y: Tensor) -> Tensor:
            return self.least(self.tangents(y), inputs, owner)

        rows, curved = self._last.rows, self._curved
        count = len(rows)
        step = 1.0 / self._steepness(start).clamp(min=1e-12)
        w = start.expand(count, *start.shape[1:]).clone()
        ahead, momentum = w, torch.ones(count, dtype=w.dtype)
        best = bound(self._inner(w))
        each = (-1, *(1 for _ in start.shape[1:]))
        for iteration in range(1, limit + 1):
            y = self._inner(ahead)
            slopes = rows * (2 * curved * y + self._slope)
            moved = project(ahead - step.reshape(each) * self._adjoint(slopes))
            # momentum starts again where it points uphill (O'Donoghue and Candes, 2015)
            uphill = ((ahead - moved) * (moved - w)).flatten(1).sum(dim=1) > 0
            momentum = torch.where(uphill, 1.0, momentum)
            grown = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
            ahead = moved + (torch.where(uphill, 0.0, (momentum - 1) / grown)).reshape(each) * (moved - w)
            w, momentum = moved, grown
            if iteration % _CHECKS == 0 or iteration == limit:
                y = self._inner(w)
                best = torch.fmax(best, bound(y))
                value = self._value(y)
                if deadline.expired() or bool((value - best <= _GAP * (1 + value.abs())).all()):
                    break
        return best

    def _steepness(self, start: Tensor) -> Tensor:
        """About the largest eigenvalue of each Hessian, by a few steps of the power method."""
        found = torch.zeros(len(self._last.rows), dtype=start.dtype)
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(len(found), *start.shape[1:], generator=generator, dtype=start.dtype)
        each = (-1, *(1 for _ in start.shape[1:]))
        origin = self._inner(torch.zeros_like(start))
        for _ in range(_POWER_STEPS):
            size = torch.linalg.vector_norm(direction.flatten(1), dim=1).clamp(min=1e-300)
            direction = direction / size.reshape(each)
            product = self._adjoint(2 * self._last.rows * self._curved * (self._inner(direction) - origin))
            found = torch.linalg.vector_norm(product.flatten(1), dim=1)
            direction = product
        return 1.2 * found

    def _value(self, y: Tensor) -> Tensor:
        height = torch.where(self._curved > 0, 0.0, self._height)
        neurons = self._last.rows * ((self._curved * y + self._slope) * y + height)
        return neurons.flatten(1).sum(dim=1) + self._last.constants

    def tangents(self, t: Tensor) -> Ending:
        """The margins from below as linear functions of node `source`, by tangents at y = t (K, *shape)."""
        rows, constants, slack = self._last
        t = t.clamp(self._lower, self._upper)
        slope = torch.where(self._curved > 0, 2 * self._curved * t + self._slope, self._chord)
        tangent = -self._curved * t.square()
        # for the slope as rounded: a line is below a convex function if it is at the ends and at the kink
        room = torch.minimum(-slope * self._lower, self._upper - slope * self._upper).clamp(max=0)
        reach = slope.abs() * torch.maximum(-self._lower, self._upper) + self._upper.abs()
        offset = torch.minimum(tangent, room - gamma(8) * reach)
        offset = torch.where(self._curved > 0, offset, self._height)
        norm = rows.abs().flatten(1).sum(dim=1)
        size = self._rounding.size(self._lower[None], self._upper[None])
        steepest, tallest = (part.abs().flatten(1).amax(dim=1) for part in (slope, offset))
        constants = constants + (rows * offset).flatten(1).sum(dim=1)
        slack = slack + self._rounding.relaxed(rows[0].numel(), norm, size, steepest, tallest)
        found = Ending(rows * slope, constants, slack + self._rounding.added(constants))
        for index in reversed(self._steps):
            found = pulled(self._graph, index, found, self._intervals, self._rounding)
        return found

    def least(self, found: Ending, inputs: InputSet, owner: slice) -> Tensor:
        """Lower bounds (K,) of linear functions of node `source`, rounded down; on the input set if it is the input."""
        norm = found.rows.abs().flatten(1).sum(dim=1)
        lower, upper = (side[0] for side in self._intervals[self.source])
        if self.source == 0:
            sign = norm.new_full((1, 1, 1), -1.0)
            extreme = inputs.concretize(found.rows[None, None], sign, owner)[0, 0]
            size = inputs.size()[owner]
        else:
            extreme = torch.minimum(found.rows * lower, found.rows * upper).flatten(1).sum(dim=1)
            size = torch.as_tensor(self._rounding.size(lower[None], upper[None]))
        value = found.constants + extreme
        slack = found.slack + self._rounding.concretized(found.rows[0].numel(), norm, size)
        return self._rounding.outward(value, slack + self._rounding.added(value), -1.0)
