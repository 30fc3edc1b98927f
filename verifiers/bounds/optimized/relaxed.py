"""alpha-CROWN of one input: bounds of every activation's input and of any rows, each with lines of its own.

Layer by layer: the bounds of a layer are raised with the layers below already done. A tighter bound below never hurts
the best bound above, so that reaches what optimising all slopes jointly for the last rows can reach, without the
gradients through the relaxations, and with rows in chunks that fit into memory. Slopes are searched in float32; what
is published is computed from them once more in float64, rounded outward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp, one_hot

from ..relaxations.nonlinear import Planes, needs_rows, relax
from ..relaxations.relu import ADAPTIVE
from ..relaxations.shapes import curve_of
from ..rounding import Nearest, Outward
from ..sets.inputs import InputSet, Interval
from .ascent import Ascent, Done, Schedule, ascend
from .reduce import without_inactive
from .sweep import Relus, Start, Sweep, Trace, Triangles, cast, triangles
from .touching import Touching, cut_at, lines_and_halves

_CHUNK_BYTES = 1 << 26
_REMEMBERED = 32  # slopes of a layer are kept for later if its rows would fill no more than so many chunks
_COPIES = 12  # rows, lines, moments, best parameters: tensors of one entry per row and neuron


@dataclass(frozen=True)
class Found:
    """Entries (P,) of a ReLU's input and the slopes and gammas of the rows of both their sides, (2 P, *shape)."""

    entries: Tensor
    slopes: Relus
    gammas: Relus


@dataclass(eq=False)
class Relaxed:
    """One input's network between its current bounds: `bounds` (1, *shape), float64, of the input of every ReLU and
    every smooth activation.

    signs: phases that are taken as fixed, (1, *shape) at their ReLU nodes: +1 for z <= 0, -1 for z >= 0, 0 for none; at
    smooth activations +1 and -1 for the last half that was taken. All bounds then hold where the phases do.
    found: by ReLU node, what its bounds were optimised with: where to begin next time."""

    graph: Graph
    exact: Sweep
    search: Sweep
    bounds: dict[int, Interval]
    signs: Relus = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)
    _triangles: dict[torch.dtype, Triangles] = field(default_factory=dict)
    _curves: dict[int, tuple[Touching, Touching, Touching]] = field(default_factory=dict)

    def triangles(self, dtype: torch.dtype) -> Triangles:
        if dtype not in self._triangles:
            relus = {index: self.bounds[index] for index in self.graph.relus}
            found = triangles({index: (lower.to(dtype), upper.to(dtype)) for index, (lower, upper) in relus.items()})
            for index in self.bounds.keys() - relus.keys():
                if index not in self._curves:
                    lower, upper = self.bounds[index]
                    # bounds cross where the fixed phases exclude each other: then any line will do
                    crossed = torch.maximum(lower, upper)
                    self._curves[index] = lines_and_halves(self.graph.nodes[index].op, lower, crossed)
                curve, *halves = (lines.to(dtype) for lines in self._curves[index])
                found.curves[index], found.halves[index] = curve, (halves[0], halves[1])
                found.adaptive[index], found.free[index] = curve.begin, curve.unsettled.to(dtype)
            self._triangles[dtype] = found
        return self._triangles[dtype]

    def replace(self, index: int, lower: Tensor, upper: Tensor) -> None:
        """Better bounds of the input of ReLU `index`."""
        self.bounds[index] = Interval(lower, upper)
        self._triangles.clear()
        self._curves.pop(index, None)

    def fix(self, index: int, entry: int, sign: int) -> Relaxed:
        """The same with the phase of one neuron of ReLU `index` fixed, or with one half of the interval of a smooth
        activation."""
        lower, upper = (side.clone() for side in self.bounds[index])
        signs = self.signs[index].clone() if index in self.signs else torch.zeros_like(lower)
        signs.view(-1)[entry] = sign
        side = upper if sign > 0 else lower
        side.view(-1)[entry] = self.cut(index, entry)
        known = {**self.signs, index: signs}
        child = Relaxed(self.graph, self.exact, self.search, dict(self.bounds), known, dict(self.found))
        child.replace(index, lower, upper)
        return child

    def cut(self, index: int, entry: int) -> float:
        """Where the halves of a neuron of activation `index` meet."""
        return 0.0 if index in self.graph.relus else float(cut_at(*self.bounds[index]).view(-1)[entry])

    def below(self, index: int) -> set[int]:
        """ReLU and smooth nodes that node `index` depends on, itself included."""
        wanted, found = {index}, set()
        for node in range(index, 0, -1):
            if node in wanted:
                wanted.update(self.graph.nodes[node].inputs)
                if node in self.bounds:
                    found.add(node)
        return found

    def layers(self) -> Iterator[tuple[int, int, Tensor]]:
        """(activation, its input, the entries there that tighter bounds would help), from the input on, as things stand
        when each is reached. Left out are inputs that are affine in the network's: their bounds are exact."""
        for activation in self.bounds:
            node = self.graph.nodes[activation]
            (index,) = node.inputs
            if self.below(index):
                yield activation, index, needs_rows(node, [self.bounds[activation]]).flatten().nonzero().squeeze(1)

    def traced(self, start: Start, ascent: Ascent) -> tuple[Start, Trace]:
        """(`start` in the precision of the search, what a pass with the best parameters of `ascent` leaves behind)."""
        dtype, trace = self.search.inputs.interval().lower.dtype, Trace()
        rough = start.rough(dtype)
        self.search.lower(rough, self.triangles(dtype), ascent.best_slopes, ascent.best_gammas, trace)
        return rough, trace

    def reduced(self) -> tuple[Relaxed, dict[int, Tensor]]:
        """(the same function on the input set without neurons that are never active, which entries are left)."""
        graph, bounds, entries = without_inactive(self.graph, self.bounds)
        # what is left of a node is no larger than all of it
        exact = replace(self.exact, graph=graph)
        return Relaxed(graph, exact, replace(self.search, graph=cast(graph, torch.float32)), bounds), entries

    def raise_rows(
        self, start: Start, schedule: Schedule, done: Done, deadline: Deadline, slopes: Relus | None = None
    ) -> tuple[Tensor, Ascent]:
        """(bounds (R,) that hold in real arithmetic, what was found) for float64 rows; slopes: to begin with."""
        dtype = self.search.inputs.interval().lower.dtype
        relus, below = self.triangles(dtype), self.below(start.index)
        rough = start.rough(dtype)
        count = len(start.rows)
        signs = {i: s.to(dtype).expand(count, *s.shape[1:]) for i, s in self.signs.items() if i in below}
        gammas = {i: torch.zeros_like(s) for i, s in signs.items()}
        begin = {i: relus.adaptive[i] if slopes is None else self._begin(relus, i, slopes[i]) for i in below}
        found = ascend(self.search, rough, relus, begin, gammas, signs, schedule, done, deadline)
        return self.certify(start, found.best_slopes, found.best_gammas), found

    def _begin(self, relus: Triangles, index: int, slopes: Tensor) -> Tensor:
        return slopes if index in relus.curves else torch.where(relus.free[index] > 0, slopes, relus.chord[index])

    def certify(self, start: Start, slopes: Relus, gammas: Relus) -> Tensor:
        """Bounds (R,) of float64 rows that hold in real arithmetic, for any slopes and any multipliers."""
        bounds = self.exact.lower(start, *self._exactly(slopes, gammas), None)
        return torch.where(bounds.isnan(), -torch.inf, bounds)

    def curve_slopes(self, start: Start, slopes: Relus, gammas: Relus) -> Relus:
        """Those (R, *shape) of the lines that rows take at smooth activations, by which `certify` bounds them."""
        trace = Trace()
        self.exact.pull(start, *self._exactly(slopes, gammas), trace)
        return {i: trace.slopes[i][0] for i in trace.slopes if i in self.bounds and i not in self.graph.relus}

    def _exactly(self, slopes: Relus, gammas: Relus) -> tuple[Triangles, Relus, Relus]:
        relus = self.triangles(torch.float64)
        exact = {i: self._begin(relus, i, s.double().clamp(0, 1)) for i, s in slopes.items()}
        signed = {i: (g.double() * self.signs[i]).clamp(min=0) * self.signs[i] for i, g in gammas.items()}
        return relus, exact, signed

    def at_once(self) -> int:
        """How many rows may be on their way at the same time."""
        entries = sum(lower.numel() for lower, _ in self.bounds.values()) + math.prod(self.graph.input_shape)
        return max(1, _CHUNK_BYTES // (_COPIES * 4 * entries))


def relaxed(graph: Graph, inputs: InputSet, rough_inputs: InputSet, intervals: Sequence[Interval]) -> Relaxed:
    """graph, inputs and sound intervals (1, *shape) of all nodes that others depend on, in float64; `rough_inputs` in
    float32. Raises `Unsupported` for operations without a relaxation."""
    sizes = (float(inputs.size().max()), *(_largest(*interval) for interval in intervals[1:]))
    planes = {
        index: relax(graph.nodes[index], [intervals[i] for i in graph.nodes[index].inputs], ADAPTIVE)
        for index in graph.nonlinear
        if index not in graph.relus
    }
    rough = {index: _rough(one) for index, one in planes.items()}
    exact = Sweep(graph, inputs, Outward(), sizes, planes)
    search = Sweep(cast(graph, torch.float32), rough_inputs, Nearest(), (), rough)
    bounds = {
        index: Interval(*(side.contiguous() for side in intervals[graph.nodes[index].inputs[0]]))  # to be written to
        for index in graph.nonlinear
        if isinstance(op := graph.nodes[index].op, Relu) or (isinstance(op, Elementwise) and curve_of(op) is not None)
    }
    return Relaxed(graph, exact, search, bounds)


def _rough(planes: Planes) -> Planes:
    """In float32, for searching only."""
    slopes = tuple((low.float(), high.float()) for low, high in planes.slopes)
    return Planes(slopes, planes.lower_offset.float(), planes.upper_offset.float())


def tighten(relaxed: Relaxed, schedule: Schedule, deadline: Deadline, slopes: dict[int, Relus] | None = None) -> None:
    """Raise the bounds of the inputs of all unstable neurons, layer by layer, until the deadline."""
    for relu, index, unstable in relaxed.layers():
        lower, upper = (side.clone() for side in relaxed.bounds[relu])
        flat_lower, flat_upper = lower.view(-1), upper.view(-1)
        chunks = torch.split(unstable, max(1, relaxed.at_once() // 2)) if len(unstable) else ()
        pieces: list[Found] = []
        for entries in chunks:
            if deadline.expired():
                break
            count = len(entries)
            start = both_sides(relaxed, index, entries)
            stable = torch.zeros(count, dtype=torch.bool)

            def done(
                found: Tensor, rows: Tensor, stable: Tensor = stable, count: int = count, relu: int = relu
            ) -> Tensor:
                if relu in relaxed.graph.relus:
                    stable[rows[found >= 0] % count] = True
                return stable[rows % count]

            found, ascent = relaxed.raise_rows(start, schedule, done, deadline, _known_slopes(relaxed, relu, entries))
            pieces.append(Found(entries, ascent.best_slopes, ascent.best_gammas))
            flat_lower[entries] = torch.maximum(flat_lower[entries], found[:count])
            flat_upper[entries] = torch.minimum(flat_upper[entries], -found[count:])
        relaxed.replace(relu, lower, upper)
        if pieces and len(unstable) <= _REMEMBERED * relaxed.at_once():
            relaxed.found[relu] = _joined(pieces)


def _joined(pieces: list[Found]) -> Found:
    """One `Found` for all entries: first the rows of all lower sides, then those of the upper ones."""
    entries = torch.cat([piece.entries for piece in pieces])
    counts = [len(piece.entries) for piece in pieces]

    def join(parts: list[Relus]) -> Relus:
        halves = [[part[index][:n] for part, n in zip(parts, counts, strict=True)]
                  + [part[index][n:] for part, n in zip(parts, counts, strict=True)] for index in parts[0]]  # fmt: skip
        return dict(zip(parts[0], map(torch.cat, halves), strict=True))

    return Found(entries, join([piece.slopes for piece in pieces]), join([piece.gammas for piece in pieces]))


def _known_slopes(relaxed: Relaxed, relu: int, entries: Tensor) -> Relus | None:
    """The slopes found before for both sides of `entries` of ReLU `relu`, None where some of them are new."""
    if relu not in relaxed.found:
        return None
    known = relaxed.found[relu]
    places = torch.searchsorted(known.entries, entries).clamp(max=len(known.entries) - 1)
    if not torch.equal(known.entries[places], entries):
        return None
    rows = torch.cat([places, places + len(known.entries)])
    return {index: values[rows] for index, values in known.slopes.items()}


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


def _largest(lower: Tensor, upper: Tensor) -> float:
    return float(torch.maximum(lower.abs(), upper.abs()).max())
