"""alpha-CROWN of one input: bounds of every ReLU's input and of any rows, each with lower slopes of its own.

Layer by layer: the bounds of a layer are raised with the layers below already done. A tighter bound below never hurts
the best bound above, so that reaches what optimising all slopes jointly for the last rows can reach, without the
gradients through the relaxations, and with rows in chunks that fit into memory. Slopes are searched in float32; what
is published is computed from them once more in float64, rounded outward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp, one_hot

from .inputs import InputSet
from .optimized import Relus, Start, Sweep, Triangles, cast, triangles
from .optimized_ascent import Ascent, Done, Schedule, ascend
from .rounding import Nearest, Outward

Interval = tuple[Tensor, Tensor]
_CHUNK_BYTES = 1 << 28
_COPIES = 12  # rows, lines, moments, best parameters: tensors of one entry per row and neuron


@dataclass(eq=False)
class Relaxed:
    """One input's network between its current bounds: `bounds` (1, *shape), float64, of the input of every ReLU."""

    graph: Graph
    exact: Sweep
    search: Sweep
    bounds: dict[int, Interval]
    _triangles: dict[torch.dtype, Triangles] = field(default_factory=dict)

    def triangles(self, dtype: torch.dtype) -> Triangles:
        if dtype not in self._triangles:
            self._triangles[dtype] = triangles({i: (l.to(dtype), u.to(dtype)) for i, (l, u) in self.bounds.items()})
        return self._triangles[dtype]

    def replace(self, index: int, lower: Tensor, upper: Tensor) -> None:
        """Better bounds of the input of ReLU `index`."""
        self.bounds[index] = (lower, upper)
        self._triangles.clear()

    def below(self, index: int) -> set[int]:
        """ReLU nodes that node `index` depends on, itself included."""
        wanted, found = {index}, set()
        for node in range(index, 0, -1):
            if node in wanted:
                wanted.update(self.graph.nodes[node].inputs)
                if node in self.bounds:
                    found.add(node)
        return found

    def raise_rows(
        self, start: Start, schedule: Schedule, done: Done, deadline: Deadline, slopes: Relus | None = None
    ) -> tuple[Tensor, Ascent]:
        """(bounds (R,) that hold in real arithmetic, what was found) for float64 rows; slopes: to begin with."""
        dtype = self.search.inputs.interval().lower.dtype
        relus = self.triangles(dtype)
        begin = {i: relus.adaptive[i] for i in self.below(start.index)} if slopes is None else slopes
        rough = Start(start.index, start.rows.to(dtype), start.constants.to(dtype))
        found = ascend(self.search, rough, relus, begin, {}, {}, schedule, done, deadline)
        return self.certify(start, found.best_slopes), found

    def certify(self, start: Start, slopes: Relus) -> Tensor:
        """Bounds (R,) of float64 rows that hold in real arithmetic, for any slopes in [0, 1]."""
        relus = self.triangles(torch.float64)
        exact = {i: torch.where(relus.free[i] > 0, s.double().clamp(0, 1), relus.chord[i]) for i, s in slopes.items()}
        bounds = self.exact.lower(start, relus, exact, {}, None)
        return torch.where(bounds.isnan(), -torch.inf, bounds)

    def at_once(self) -> int:
        """How many rows may be on their way at the same time."""
        entries = sum(lower.numel() for lower, _ in self.bounds.values()) + math.prod(self.graph.input_shape)
        return max(1, _CHUNK_BYTES // (_COPIES * 4 * entries))


def relaxed(graph: Graph, inputs: InputSet, rough_inputs: InputSet, bounds: list[Interval]) -> Relaxed:
    """graph, inputs and bounds (of every ReLU's input, in order, (1, *shape)) in float64; `rough_inputs` in float32."""
    named = {index: interval for index, interval in zip(graph.relus, bounds, strict=True)}
    exact = Sweep(graph, inputs, Outward(), _sizes(graph, inputs, named))
    return Relaxed(graph, exact, Sweep(cast(graph, torch.float32), rough_inputs, Nearest()), named)


def tighten(relaxed: Relaxed, schedule: Schedule, deadline: Deadline, slopes: dict[int, Relus] | None = None) -> None:
    """Raise the bounds of all unstable neurons, layer by layer, until the deadline."""
    for relu in relaxed.graph.relus:
        index = relaxed.graph.nodes[relu].inputs[0]
        if not relaxed.below(index):
            continue  # affine in the input: exact already
        lower, upper = (side.clone() for side in relaxed.bounds[relu])
        flat_lower, flat_upper = lower.view(-1), upper.view(-1)
        unstable = ((flat_lower < 0) & (flat_upper > 0)).nonzero().squeeze(1)
        for entries in torch.split(unstable, max(1, relaxed.at_once() // 2)) if len(unstable) else ():
            if deadline.expired():
                return
            count = len(entries)
            start = both_sides(relaxed, index, entries)
            stable = torch.zeros(count, dtype=torch.bool)

            def done(found: Tensor, rows: Tensor, stable: Tensor = stable, count: int = count) -> Tensor:
                stable[rows[found >= 0] % count] = True
                return stable[rows % count]

            found, _ = relaxed.raise_rows(start, schedule, done, deadline)
            flat_lower[entries] = torch.maximum(flat_lower[entries], found[:count])
            flat_upper[entries] = torch.minimum(flat_upper[entries], -found[count:])
        relaxed.replace(relu, lower, upper)


def both_sides(relaxed: Relaxed, index: int, entries: Tensor) -> Start:
    """The rows z_j and -z_j of entries j (P,) of node `index`, (2 P, ...), taken through it where it is affine."""
    graph = relaxed.graph
    node = graph.nodes[index]
    if not isinstance(node.op, LinearOp):
        rows = one_hot(entries, node.shape, torch.float64)
        return Start(index, torch.cat([rows, -rows]), rows.new_zeros(2 * len(entries)))
    source = node.inputs[0]
    rows = node.op.unit_rows(entries, graph.nodes[source].shape, node.shape)
    rows = rows.reshape(len(entries), *graph.nodes[source].shape)
    offset = rows.new_zeros(()) if node.op.offset is None else node.op.offset
    constants = offset.expand(node.shape).flatten()[entries]
    slack = relaxed.exact.rounding.affine(graph, index, 1.0, relaxed.exact.sizes[source])
    return Start(source, torch.cat([rows, -rows]), torch.cat([constants, -constants]), slack)


def _sizes(graph: Graph, inputs: InputSet, bounds: dict[int, Interval]) -> tuple[float, ...]:
    """max |z| of every node over the input set, rounded up."""
    known = {graph.nodes[relu].inputs[0]: _largest(*bounds[relu]) for relu in bounds}
    sizes = [float(inputs.size().max())]
    for index, node in enumerate(graph.nodes[1:], start=1):
        before = [sizes[source] for source in node.inputs]
        sums = graph.row_sums[index]
        if isinstance(node.op, LinearOp) and sums is not None:
            offset = 0.0 if node.op.offset is None else float(node.op.offset.abs().max())
            size = (float(sums.max()) * before[0] + offset) * 1.01
        else:
            size = sum(before) * 1.01 if isinstance(node.op, Add) else before[0]
        sizes.append(min(size, known.get(index, math.inf)))
    return tuple(sizes)


def _largest(lower: Tensor, upper: Tensor) -> float:
    return float(torch.maximum(lower.abs(), upper.abs()).max())
