"""What is known about a batch while a plan runs: intervals, and what back-substitution derives from them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.graph import Graph, Node
from verifiers.graph.linear import Linear
from verifiers.graph.ops import LinearOp

from .relaxations.nonlinear import Planes, relax
from .relaxations.relu import Relaxation
from .rounding import Rounding, Size
from .sets.inputs import InputSet, Interval

_KEPT_BYTES = 1 << 27  # of weights of reduced layers

_Key = tuple[int, str, int]


@dataclass(frozen=True)
class Slopes:
    """Slopes in one variable as centre and half distance, None where they vanish; steepest: the largest, (B,)."""

    centre: Tensor | None
    spread: Tensor | None
    steepest: Size


@dataclass(frozen=True)
class Band:
    """The two planes around a nonlinear node: slopes for each of its inputs, offsets as centre and half distance.

    tallest: the largest offset, (B,). The bias of an affine input is part of the offsets where it is `folded`.
    """

    slopes: tuple[Slopes, ...]
    offset: Tensor
    offset_spread: Tensor
    tallest: Size

    @cached_property
    def tensors(self) -> Tensor:
        """All of it side by side, (B, N, *shape): offset, its spread, then centre and spread of each slope."""
        slopes = (part for each in self.slopes for part in (each.centre, each.spread) if part is not None)
        return torch.stack([self.offset, self.offset_spread, *slopes], dim=1)


@dataclass(frozen=True)
class Lines:
    """The band of a function of one variable for one input: vectors over its entries, or over those in `kept`.

    spread_and_one: (n, 2), the half distance of the offsets beside ones; kept: flat indices, None for all.
    """

    kept: Tensor | None
    offset: Tensor
    spread_and_one: Tensor
    slope: Tensor | None
    slope_spread: Tensor | None


@dataclass(frozen=True)
class Bounds:
    """The intervals of the nodes reached so far. One call's own workspace."""

    graph: Graph
    inputs: InputSet
    rounding: Rounding
    intervals: list[Interval] = field(default_factory=list)
    _sizes: dict[int, Size] = field(default_factory=dict)
    _bands: dict[tuple[int, str], Band] = field(default_factory=dict)
    _lines: dict[_Key, Lines] = field(default_factory=dict)
    _prices: dict[_Key, tuple[Size, list[float]]] = field(default_factory=dict)
    _reduced: dict[_Key, Tensor] = field(default_factory=dict)

    def append(self, interval: Interval) -> None:
        self.intervals.append(interval)

    def replace(self, index: int, interval: Interval) -> None:
        """Better bounds of the node that was appended last."""
        self.intervals[index] = interval
        self._sizes.pop(index, None)

    def size(self, index: int) -> Size:
        """max |z| of node `index` over the input set, or more; (B,)."""
        if index not in self._sizes:
            node = self.graph.nodes[index]
            if isinstance(node.op, Reshape | Permute):
                self._sizes[index] = self.size(node.inputs[0])
            else:
                lower, upper = self.intervals[index]
                positive = isinstance(node.op, Relu)
                self._sizes[index] = self.rounding.peak(upper) if positive else self.rounding.size(lower, upper)
        return self._sizes[index]

    @cached_property
    def box(self) -> Tensor:
        """Centre and radius of the input box, (B, 2, *shape)."""
        lower, upper = self.intervals[0]
        return torch.stack([(lower + upper) / 2, (upper - lower) / 2], dim=1)

    def price(self, index: int, name: str, entries: int, compute: Callable[[], Size]) -> Size:
        """`compute()`, once: what a step at node `index` costs per unit of the norm of rows of `entries`; (B,)."""
        return self._priced(index, name, entries, compute)[0]

    def price_of(self, sample: int, index: int, name: str, entries: int, compute: Callable[[], Size]) -> float:
        """As `price`, for one input of the batch."""
        size, each = self._priced(index, name, entries, compute)
        return size if isinstance(size, float) else each[sample]

    def _priced(self, index: int, name: str, entries: int, compute: Callable[[], Size]) -> tuple[Size, list[float]]:
        key = (index, name, entries)
        if key not in self._prices:
            size = compute()
            self._prices[key] = size, [] if isinstance(size, float) else size.tolist()
        return self._prices[key]

    def band(self, index: int, relaxation: Relaxation) -> Band:
        """The relaxation of nonlinear node `index` over the intervals of its inputs."""
        key = (index, relaxation.name)
        if key not in self._bands:
            node = self.graph.nodes[index]
            self._bands[key] = self._band(node, relax(node, [self.intervals[i] for i in node.inputs], relaxation))
        return self._bands[key]

    def _band(self, node: Node, planes: Planes) -> Band:
        rounding = self.rounding
        if planes.flat:
            slopes = [Slopes(None, None, 0.0)] * len(planes.slopes)
        else:
            slopes = [
                Slopes(
                    (low + high) / 2,
                    None if planes.parallel else (high - low) / 2,
                    1.0 if isinstance(node.op, Relu) else rounding.larger(low, high),
                )
                for low, high in planes.slopes
            ]
        if isinstance(node.op, Relu) and not planes.flat:  # the lower line goes through the origin
            offset = half = planes.upper_offset / 2
            tallest = rounding.peak(planes.upper_offset)
        else:
            offset = (planes.upper_offset + planes.lower_offset) / 2
            half = (planes.upper_offset - planes.lower_offset) / 2
            tallest = rounding.larger(planes.lower_offset, planes.upper_offset)
        if node.inputs[0] in self.folded and slopes[0].centre is not None:
            op = self.graph.nodes[node.inputs[0]].op
            assert isinstance(op, LinearOp)
            assert op.offset is not None
            offset = offset + slopes[0].centre * op.offset
            half = half if slopes[0].spread is None else half + slopes[0].spread * op.offset
        return Band(tuple(slopes), offset, half, tallest)

    @cached_property
    def folded(self) -> set[int]:
        """Affine nodes with a bias that only one function of one variable uses."""
        found = set()
        for index, node in enumerate(self.graph.nodes):
            users = [self.graph.nodes[i].op for i in self.graph.consumers[index]]
            if isinstance(node.op, LinearOp) and node.op.offset is not None and len(users) == 1:
                found.update([index] if isinstance(users[0], Elementwise) else [])
        return found

    def lines(self, index: int, relaxation: Relaxation, sample: int) -> Lines:
        """The band of node `index`, a function of one variable, for one input of the batch; the box of node 0, as an
        offset and its spread."""
        key = (index, relaxation.name, sample)
        if key not in self._lines:
            kept = self.kept(index, relaxation, sample)
            vectors = (self.band(index, relaxation).tensors if index else self.box)[sample].flatten(1)
            vectors = vectors if kept is None else vectors.index_select(1, kept)
            offset, half, *slopes = vectors.unbind(0)
            both = torch.stack([half, torch.ones_like(half)], dim=1)
            centre, spread = [*slopes, None, None][:2]
            self._lines[key] = Lines(kept, offset, both, centre, spread)
        return self._lines[key]

    def kept(self, index: int, relaxation: Relaxation, sample: int | None) -> Tensor | None:
        """The entries of node `index` that rows of one input are restricted to: neurons of a hidden dense layer that
        are off are zero on the whole input set. None where rows are kept in full."""
        if sample is None or relaxation.flat or index not in self._dense:
            return None
        source = self._dense[index]
        if (source, sample) not in self._kept:
            self._kept[source, sample] = (~(self.intervals[source].upper[sample] <= 0)).nonzero().squeeze(1)
        return self._kept[source, sample]

    @cached_property
    def _kept(self) -> dict[tuple[int, int], Tensor]:
        return {}

    @cached_property
    def _dense(self) -> dict[int, int]:
        """Hidden dense layers: for every ReLU whose input only it uses, and for that input, the input."""
        graph, found = self.graph, {}
        for relu in graph.relus:
            (source,) = graph.nodes[relu].inputs
            dense = isinstance(graph.nodes[source].op, Linear) and len(graph.nodes[source].shape) == 1
            if dense and graph.consumers[source] == (relu,):
                found[source] = found[relu] = source
        return found

    def reduced(self, index: int, relaxation: Relaxation, sample: int) -> Tensor:
        """The weight of dense node `index`, of the entries of itself and its input that are kept for one input."""
        key = (index, relaxation.name, sample)
        if key not in self._reduced:
            op = self.graph.nodes[index].op
            assert isinstance(op, Linear)
            rows, columns = (self.kept(i, relaxation, sample) for i in (index, self.graph.nodes[index].inputs[0]))
            weight = op.weight if rows is None else op.weight[rows]
            weight = weight if columns is None else weight.index_select(1, columns)
            if len(self._reduced) * op.weight.nbytes > _KEPT_BYTES:
                self._reduced.clear()
            self._reduced[key] = weight
        return self._reduced[key]
