"""Lower bounds of a ReLU network with free slopes and split multipliers, and their gradients without a tape.

Every row (a linear function of some node) is bounded from below by back-substitution. Through an unstable ReLU an
entry a >= 0 takes the lower line alpha z with its own slope alpha in [0, 1], an entry a < 0 the chord. A domain that
fixes the phase of a neuron, z <= 0 or z >= 0, may add any gamma z to the row at the ReLU's input, with gamma >= 0 for
z <= 0 and gamma <= 0 for z >= 0: on the domain that only lowers the function. Every choice of alpha and gamma gives
a sound bound, so they are searched for in any precision and the bound is computed again with rounding at the end.

Gradients. For fixed alpha and gamma the bound is the minimum over the input set of one linear function, attained at a
point x*. Let z* be the values of the nodes at x* when every ReLU is replaced by the line its row entry took. By the
envelope theorem d bound / d alpha_i = max(a_i, 0) z*_i and d bound / d gamma_i = z*_i: one forward pass.

Smooth activations take part with the places where their tangents touch (`touching`), below and above, in [0, 1] as
slopes are; all other operations keep their planes.

Xu et al., Fast and Complete, ICLR 2021 (alpha); Wang et al., Beta-CROWN, NeurIPS 2021 (gamma = +- beta, eq. 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from ..relaxations.nonlinear import Planes
from ..relaxations.relu import relu_adaptive
from ..rounding import Rounding, Size
from ..sets.inputs import InputSet
from .touching import Touching

Relus = dict[int, Tensor]
"""A tensor (R, *shape) or (1, *shape) for every ReLU node, by its index in the graph."""

_BELOW = -1.0


@dataclass(frozen=True)
class Triangles:
    """The relaxation of every ReLU node, each (R or 1, *shape): chord z + offset lies above on [l, u]; where `free`
    is 1 any lower slope in [0, 1] will do, elsewhere (0) the ReLU is the chord, exactly. `adaptive`: CROWN's slopes.
    curves: the lines around smooth activations; their places are kept where slopes are, (R or 1, 2, *shape), and `free`
    is 1 where splitting gains something; halves: the lines below and beyond the middle of the interval, for splits."""

    chord: Relus
    offset: Relus
    free: Relus
    adaptive: Relus
    curves: dict[int, Touching] = field(default_factory=dict)
    halves: dict[int, tuple[Touching, Touching]] = field(default_factory=dict)

    def take(self, rows: Tensor) -> Triangles:
        """Those of the rows with these indices (all of them where the rows share one)."""
        parts = (self.chord, self.offset, self.free, self.adaptive)
        chord, offset, free, adaptive = ({i: take(values, rows) for i, values in part.items()} for part in parts)
        curves = {index: curve.take(rows) for index, curve in self.curves.items()}
        return Triangles(chord, offset, free, adaptive, curves, self.halves)


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Entries `rows` of the first dimension, unless it is shared (1)."""
    return values if values.shape[0] == 1 else values[rows]


def triangles(bounds: Mapping[int, tuple[Tensor, Tensor]]) -> Triangles:
    """From bounds (l, u) of the inputs of ReLU nodes, in the precision that they are in."""
    found = Triangles({}, {}, {}, {})
    for index, (lower, upper) in bounds.items():
        lines = relu_adaptive(lower, upper)
        found.chord[index], found.offset[index] = lines.upper_slope, lines.upper_offset
        found.free[index] = ((lower < 0) & (upper > 0)).to(lower.dtype)
        found.adaptive[index] = lines.lower_slope
    return found


@dataclass(frozen=True)
class Start:
    """Functions rows z_index + constants to be bounded: (R, *shape) and (R,). slack: (1, 1, R) what they may lack."""

    index: int
    rows: Tensor
    constants: Tensor
    slack: Size = 0.0

    def rough(self, dtype: torch.dtype) -> Start:
        """In another precision, for searching only."""
        return Start(self.index, self.rows.to(dtype), self.constants.to(dtype))

    def take(self, rows: Tensor) -> Start:
        slack = self.slack if isinstance(self.slack, float) else self.slack[..., rows]
        return Start(self.index, self.rows[rows], self.constants[rows], slack)


@dataclass
class Trace:
    """What a pass leaves behind: at each ReLU and curve the row entries above it, and where curves were touched; at
    every nonlinear node the line or plane each of them took, slopes in its inputs and offset; the input's minimiser
    (R, *shape)."""

    rows: Relus = field(default_factory=dict)
    touch: Relus = field(default_factory=dict)
    slopes: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    offset: Relus = field(default_factory=dict)
    point: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Sweep:
    """Back-substitution over `graph` and `inputs`, in the graph's precision. Where `inputs` is a batch of B, the rows
    belong to its entries in order, R / B to each.

    sizes: max |z| of every node on the whole input set, for the rounding error; nothing where `rounding` asks for none.
    planes: of the nonlinear nodes that are no ReLUs, (1, *shape); they stay as they are.
    """

    graph: Graph
    inputs: InputSet
    rounding: Rounding
    sizes: tuple[float, ...] = ()
    planes: Mapping[int, Planes] = field(default_factory=dict)

    @cached_property
    def _offsets(self) -> list[Tensor | None]:
        offsets = []
        for node in self.graph.nodes:
            offset = node.op.offset if isinstance(node.op, LinearOp) else None
            offsets.append(None if offset is None else offset.expand(node.shape).reshape(-1))
        return offsets

    def offset(self, index: int) -> Tensor | None:
        """The constant term (n,) of node `index`, None where there is none."""
        return self._offsets[index]

    def lower(self, start: Start, relus: Triangles, slopes: Relus, gammas: Relus, trace: Trace | None) -> Tensor:
        """Lower bounds (R,) of the functions of `start`; fills `trace` if given."""
        return self._concretize(*self.pull(start, relus, slopes, gammas, trace), trace)

    def pull(
        self, start: Start, relus: Triangles, slopes: Relus, gammas: Relus, trace: Trace | None = None
    ) -> tuple[Tensor | None, Tensor, Size]:
        """(rows at the input (R, *shape) or None for zero, constants (R,), slack): what `lower` minimises."""
        graph, rounding = self.graph, self.rounding
        pending, constants, slack = {start.index: start.rows}, start.constants, start.slack
        for index in range(start.index, 0, -1):
            rows = pending.pop(index, None)
            if rows is None:
                continue
            node = graph.nodes[index]
            norm, size = rounding.norm(rows[None, None]), self._size(node.inputs[0])
            each: tuple[Tensor, ...]
            if isinstance(node.op, Relu):
                passed, added = self._relax(index, rows, relus, slopes, trace)
                constants = constants + added
                tallest = float(relus.offset[index].max()) if self.sizes else 0.0
                slack = slack + rounding.relaxed(rows[0].numel(), norm, size, 1.0, tallest)
                if index in gammas:
                    passed = passed + gammas[index]
                    slack = slack + rounding.merged(rounding.norm(passed[None, None]), size)
                each = (passed,)
            elif index in relus.curves and index in slopes:
                curve = relus.curves[index]
                passed, added, steepest, tallest = self._along_curve(index, rows, curve, slopes, trace)
                constants = constants + added
                slack = slack + rounding.relaxed(rows[0].numel(), norm, size, steepest, tallest)
                if index in gammas:
                    gamma, ends = gammas[index], float(torch.maximum(curve.lower.abs(), curve.upper.abs()).max())
                    passed, constants = passed + gamma, constants - curve.furthest(gamma)
                    slack = slack + rounding.relaxed(rows[0].numel(), rounding.norm(gamma[None, None]), 0.0, 0.0, ends)
                    slack = slack + rounding.merged(rounding.norm(passed[None, None]), size)
                each = (passed,)
            elif isinstance(node.op, LinearOp):
                offset = self._offsets[index]
                if offset is not None:
                    constants = constants + rows.flatten(1) @ offset
                slack = slack + rounding.affine(graph, index, norm, size)
                each = (node.op.adjoint(rows, graph.nodes[node.inputs[0]].shape),)
            elif isinstance(node.op, Add):
                each = (rows, rows)
            else:
                each, added = self._through_planes(index, rows, trace)
                constants = constants + added
                slack = slack + self._plane_slack(index, norm, rows[0].numel())
            slack = slack + rounding.added(constants[None, None])
            for source, passed in zip(node.inputs, each, strict=True):
                if source in pending:
                    pending[source] = pending[source] + passed
                    slack = slack + rounding.merged(rounding.norm(pending[source][None, None]), self._size(source))
                else:
                    pending[source] = passed
        return pending.get(0), constants, slack

    def _size(self, index: int) -> float:
        return self.sizes[index] if self.sizes else 0.0

    def _relax(
        self, index: int, rows: Tensor, relus: Triangles, slopes: Relus, trace: Trace | None
    ) -> tuple[Tensor, Tensor]:
        above = rows > 0
        slope = torch.where(above, slopes[index], relus.chord[index])
        chord = relus.offset[index]
        if trace is not None:
            trace.rows[index], trace.slopes[index] = rows, (slope,)
            trace.offset[index] = torch.where(above, 0.0, chord)
            return rows * slope, (rows * trace.offset[index]).flatten(1).sum(dim=1)
        below = rows.clamp(max=0).flatten(1)
        added = below @ chord.flatten() if chord.shape[0] == 1 else (below * chord.flatten(1)).sum(dim=1)
        return rows * slope, added

    def _along_curve(
        self, index: int, rows: Tensor, curve: Touching, slopes: Relus, trace: Trace | None
    ) -> tuple[Tensor, Tensor, float, float]:
        """(rows at the input, constants added, largest slope, largest offset) of smooth activation `index`."""
        exact = bool(self.sizes)
        slope, offset, touch = curve.lines(slopes[index], rows < 0, exact)
        if trace is not None:
            trace.rows[index], trace.touch[index] = rows, touch
            trace.slopes[index], trace.offset[index] = (slope,), offset
        largest = (float(slope.abs().max()), float(offset.abs().max())) if exact else (0.0, 0.0)
        return rows * slope, (rows * offset).flatten(1).sum(dim=1), *largest

    def _through_planes(self, index: int, rows: Tensor, trace: Trace | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """(rows at each input, constants added) of nonlinear node `index`: entries > 0 take the plane below."""
        planes, above = self.planes[index], rows > 0
        slopes = tuple(torch.where(above, low, high) for low, high in planes.slopes)
        offset = torch.where(above, planes.lower_offset, planes.upper_offset)
        if trace is not None:
            trace.slopes[index], trace.offset[index] = slopes, offset
        return tuple(rows * slope for slope in slopes), (rows * offset).flatten(1).sum(dim=1)

    def _plane_slack(self, index: int, norm: Size, entries: int) -> Size:
        planes, inputs = self.planes[index], self.graph.nodes[index].inputs
        if not self.sizes:
            return 0.0
        tallest = float(torch.maximum(planes.lower_offset.abs(), planes.upper_offset.abs()).max())
        slack: Size = 0.0
        for source, (low, high) in zip(inputs, planes.slopes, strict=True):
            steepest = float(torch.maximum(low.abs(), high.abs()).max())
            slack = slack + self.rounding.relaxed(entries, norm, self.sizes[source], steepest, tallest)
        return slack

    def _concretize(self, rows: Tensor | None, constants: Tensor, slack: Size, trace: Trace | None) -> Tensor:
        values = constants[None, None]
        if rows is not None:
            if trace is not None:
                least, trace.point = self.minimiser(rows)
                return constants + least
            values = values + self._least(rows)
            norm, size = self.rounding.norm(rows[None, None]), self._size(0)
            slack = slack + self.rounding.concretized(rows[0].numel(), norm, size) + self.rounding.added(values)
        elif trace is not None:
            trace.point = self.inputs.interval().lower.expand(len(constants), *self.graph.input_shape)
        return self.rounding.outward(values, slack, _BELOW)[0, 0]

    def _least(self, rows: Tensor) -> Tensor:
        """min of rows x over the inputs that they belong to, (1, 1, R)."""
        batch = len(self.inputs.interval().lower)
        grouped = rows.reshape(1, batch, -1, *rows.shape[1:])
        return self.inputs.concretize(grouped, rows.new_full((1, 1, 1), _BELOW), slice(0, batch)).reshape(1, 1, -1)

    def minimiser(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """min of rows x over the input set (R,) and where it is attained (R, *shape)."""
        if self.inputs.is_box:
            lower, upper = self.inputs.interval()
            point = torch.where(rows > 0, lower, upper)
            return (rows * point).flatten(1).sum(dim=1), point
        # the minimum of a x over a set has the gradient x* in a, wherever it is unique
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_(True)
            least = self._least(leaf)[0, 0]
            (point,) = torch.autograd.grad(least.sum(), leaf)
        return least.detach(), point

    def values(self, start: Start, trace: Trace) -> dict[int, Tensor]:
        """Values (R, *shape) at the minimiser of every node that `start` depends on through a ReLU."""
        assert trace.point is not None
        values: dict[int, Tensor] = {0: trace.point}
        last = max(trace.rows, default=0)
        for index, node in enumerate(self.graph.nodes[1:last], start=1):
            if any(source not in values for source in node.inputs):
                continue
            if index in trace.slopes:
                value = trace.offset[index]
                for slope, source in zip(trace.slopes[index], node.inputs, strict=True):
                    value = torch.addcmul(value, values[source], slope)
                values[index] = value
            elif isinstance(node.op, LinearOp | Add):
                values[index] = node.op.forward(*(values[source] for source in node.inputs))
        return values


def gradients(sweep: Sweep, start: Start, trace: Trace, relus: Triangles, signs: Relus) -> tuple[Relus, Relus]:
    """(d bound / d slopes, d bound / d gammas) at every ReLU that the rows passed, gammas where there are signs;
    for the places of a curve a direction that agrees with the gradient but for positive factors."""
    values = sweep.values(start, trace)
    slopes: dict[int, Tensor] = {}
    gammas: dict[int, Tensor] = {}
    for index, rows in trace.rows.items():
        value = values[sweep.graph.nodes[index].inputs[0]]
        if index in relus.curves:
            slopes[index] = relus.curves[index].direction(rows, trace.touch[index], value)
        else:
            slopes[index] = rows.clamp(min=0) * value * relus.free[index]
        if index in signs:
            gammas[index] = relus.curves[index].outside(signs[index], value) if index in relus.curves else value
    return slopes, gammas


def cast(graph: Graph, dtype: torch.dtype) -> Graph:
    """The graph in another precision, for searching."""
    to: dict[str, Any] = {"dtype": dtype}
    return graph.cast(**to)
