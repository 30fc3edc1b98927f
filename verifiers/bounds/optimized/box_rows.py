"""Back-substitution of rows that belong to different boxes, for splitting inputs: in float64, rounded outward.

A row a belongs to one box of a batch and takes the lines of that box at every ReLU. Networks of affine maps, sums and
ReLUs. Rounding is counted as in `rounding` (u, gamma_n and T are explained there), but entry by entry instead of by
norms, because rows of different boxes differ in size. Let |z| <= Z be sizes that hold on the whole input set. Then,
for a row a above a node, in floating point,
- an affine node z = W x + b: W^T a and a b err by at most |a| E as functions of x, with
  E = gamma_{max(n, N) + R + T} (|W| X + |b|) for n terms, N entries and R earlier roundings of the weights;
- a ReLU with slopes in [0, 1] and offsets of at most Z (1 + 8 u): one rounding of each a_i z_i, and a sum of N
  offsets: |a| E with E = 2 gamma_{N + T + 8} Z. It returns entries no larger than |a|, so that the E of an affine node
  that only feeds this ReLU is added to its E: one product of |a| for both;
- two rows that meet: |a| E with E = gamma_1 Z.
One number per row, the slack, collects all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp, one_hot

from ..rounding import HUGE, TINY, Outward, constant_terms, gamma
from ..sets.inputs import Interval


class BoxLines(NamedTuple):
    """low z <= relu(z) <= chord z + offset, each (R, *shape), at one ReLU of the boxes of R rows; slopes in [0, 1]."""

    low: Tensor
    chord: Tensor
    offset: Tensor


LinesAt = Callable[[int], BoxLines]


@dataclass(frozen=True)
class Pulled:
    """At the input: target >= rows x + constants - slack, (S, R, *shape), (S, R), (S, R), for S sets of R rows."""

    rows: Tensor
    constants: Tensor
    slack: Tensor

    def at(self, rows: slice | Tensor) -> Pulled:
        return Pulled(self.rows[:, rows], self.constants[:, rows], self.slack[:, rows])


class BoxRows:
    """graph: of affine maps, sums and ReLUs; hull: the input set's, (1, *shape); bounds: of the input of every ReLU
    node on it, (1, *shape). All float64."""

    def __init__(self, graph: Graph, hull: Interval, bounds: Mapping[int, Interval]) -> None:
        self.graph = graph
        self._terms = constant_terms(graph)
        self._sizes = [torch.maximum(hull.lower.abs(), hull.upper.abs())]
        self._errors: dict[int, Tensor] = {}
        self._offsets: dict[int, Tensor] = {}
        known = {graph.nodes[relu].inputs[0]: torch.maximum(*(side.abs() for side in bounds[relu])) for relu in bounds}
        for index, node in enumerate(graph.nodes[1:], start=1):
            largest = self._largest(index)
            if isinstance(node.op, Relu):
                self._errors[index] = self._relu_error(index)
            elif isinstance(node.op, LinearOp):
                self._errors[index] = self._affine_error(index, largest)
                if node.op.offset is not None:
                    self._offsets[index] = node.op.offset.expand(node.shape).reshape(-1)
            self._sizes.append(torch.minimum(largest, known[index]) if index in known else largest)

    def _largest(self, index: int) -> Tensor:
        """Sizes (1, *shape) of a node from those of its inputs."""
        node = self.graph.nodes[index]
        sources = [self._sizes[source] for source in node.inputs]
        if isinstance(node.op, Add):
            return sources[0] + sources[1]
        magnitude = self.graph.magnitudes[index]
        if magnitude is None:
            return sources[0]
        image = magnitude.linear(sources[0])
        offset = node.op.offset if isinstance(node.op, LinearOp) else None
        return image if offset is None else image + offset.abs()

    def _affine_error(self, index: int, largest: Tensor) -> Tensor:
        op = self.graph.nodes[index].op
        assert isinstance(op, LinearOp)
        terms = max(op.terms, largest.numel()) + op.rounded + self._terms + 16
        return _finite(gamma(terms) * largest)

    def _relu_error(self, index: int) -> Tensor:
        (source,) = self.graph.nodes[index].inputs
        size = self._sizes[source]
        error = _finite(2 * gamma(size.numel() + self._terms + 8) * size)
        if source in self._errors and self.graph.consumers[source] == (index,):
            error = error + self._errors.pop(source)
        return error

    def unit(self, index: int, entries: Tensor) -> tuple[int, Pulled]:
        """(node, rows of both sides): z_j and -z_j for entries j (R,) of node `index`, as functions of `node`."""
        node = self.graph.nodes[index]
        if not isinstance(node.op, LinearOp):
            rows = one_hot(entries, node.shape, torch.float64)
            zero = rows.new_zeros(2, len(entries))
            return index, Pulled(torch.stack([rows, -rows]), zero, zero)
        source = node.inputs[0]
        shape = self.graph.nodes[source].shape
        rows = node.op.unit_rows(entries, shape, node.shape).reshape(-1, *shape)
        constants = rows.new_zeros(len(entries)) if index not in self._offsets else self._offsets[index][entries]
        # an error of its own, since that of the node may be counted at the ReLU
        slack = self._affine_error(index, self._largest(index)).reshape(-1)[entries]
        return source, Pulled(torch.stack([rows, -rows]), torch.stack([constants, -constants]), slack.expand(2, -1))

    def pull(self, index: int, start: Pulled, lines: LinesAt, trace: dict[int, Tensor] | None = None) -> Pulled:
        """`start`, rows (S, R, *shape) of node `index`, as functions of the input; trace: filled with the rows above
        every ReLU."""
        pending, constants, slack = {index: start.rows}, start.constants, start.slack
        for place in range(index, 0, -1):
            rows = pending.pop(place, None)
            if rows is None:
                continue
            node = self.graph.nodes[place]
            if place in self._errors:
                slack = slack + rows.abs().flatten(2) @ self._errors[place].reshape(-1)
            each: tuple[Tensor, ...] = (rows, rows)
            if isinstance(node.op, Relu):
                low, chord, offset = lines(place)
                below = rows.clamp(max=0)
                constants = constants + (below * offset).flatten(2).sum(dim=2)
                each = (torch.addcmul(rows.clamp(min=0) * low, below, chord),)  # one of the two is zero
                if trace is not None:
                    trace[place] = rows
            elif isinstance(node.op, LinearOp):
                if place in self._offsets:
                    constants = constants + rows.flatten(2) @ self._offsets[place]
                shape = self.graph.nodes[node.inputs[0]].shape
                each = (node.op.adjoint(rows.flatten(0, 1), shape).reshape(*rows.shape[:2], *shape),)
            for source, passed in zip(node.inputs, each, strict=True):
                if source in pending:
                    pending[source] = pending[source] + passed
                    met = _finite(gamma(1) * self._sizes[source]).reshape(-1)
                    slack = slack + pending[source].abs().flatten(2) @ met
                else:
                    pending[source] = passed
        found = pending.get(0, start.rows.new_zeros(*start.rows.shape[:2], *self.graph.input_shape))
        return Pulled(found, constants, slack)

    def least(self, pulled: Pulled, lower: Tensor, upper: Tensor) -> Tensor:
        """Lower bounds (S, R) on the boxes [lower, upper] (R, *shape) of the rows, -inf where nothing is known."""
        rows = pulled.rows.flatten(2)
        products = rows.clamp(min=0) * lower.flatten(1) + rows.clamp(max=0) * upper.flatten(1)
        values = pulled.constants + products.sum(dim=2)
        rounding = Outward()
        size = self._sizes[0].reshape(-1)
        slack = pulled.slack + gamma(rows.shape[2] + self._terms + 8) * (rows.abs() @ size) + rounding.added(values)
        steps = len(self.graph.nodes)
        found = rounding.outward(values, slack + steps * TINY, -1.0)
        return torch.where(found.isnan(), -torch.inf, found)

    def values(self, point: Tensor, lines: LinesAt, trace: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The value (R, *shape) of every node that the rows passed, at points (R, *shape), with each ReLU replaced by
        the line that its row (trace: (1, R, *shape)) took."""
        values: dict[int, Tensor] = {0: point}
        for index, node in enumerate(self.graph.nodes[1 : max(trace, default=0)], start=1):
            if any(source not in values for source in node.inputs):
                continue
            sources = [values[source] for source in node.inputs]
            if not isinstance(node.op, Relu):
                values[index] = node.op.forward(*sources)
            elif index in trace:
                low, chord, offset = lines(index)
                values[index] = torch.where(trace[index][0] < 0, chord * sources[0] + offset, low * sources[0])
        return values


def _finite(errors: Tensor) -> Tensor:
    return torch.where(errors < HUGE, errors, torch.inf)
