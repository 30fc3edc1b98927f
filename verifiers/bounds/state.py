"""What is known about a batch while a plan runs: intervals, and what back-substitution derives from them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.graph import Graph
from verifiers.graph.linear import Linear

from .inputs import InputSet, Interval
from .nonlinear import relax
from .relaxations import Relaxation
from .rounding import Rounding, Size

_KEPT_BYTES = 1 << 27  # of weights of reduced layers


@dataclass(frozen=True)
class Slopes:
    """Slopes in one variable as centre and half distance, None where they vanish; steepest: the largest, (B,)."""

    centre: Tensor | None
    spread: Tensor | None
    steepest: Size


@dataclass(frozen=True)
class Band:
    """The two planes around a nonlinear node: slopes for each of its inputs, offsets as centre and half distance;
    tallest: the largest offset, (B,)."""

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
class Phases:
    """The neurons of a ReLU for one input. kept: flat indices of those that are not off, the unstable ones first;
    active: (n,), 1 where the ReLU is the identity; the band of the unstable ones, each (U,)."""

    kept: Tensor
    unstable: Tensor
    active: Tensor
    slope: Tensor
    slope_spread: Tensor | None
    offset: Tensor
    offset_spread: Tensor


@dataclass(frozen=True)
class Bounds:
    """The intervals of the nodes reached so far. One call's own workspace."""

    graph: Graph
    inputs: InputSet
    rounding: Rounding
    intervals: list[Interval] = field(default_factory=list)
    _sizes: dict[int, Size] = field(default_factory=dict)
    _bands: dict[tuple[int, str], Band] = field(default_factory=dict)
    _phases: dict[tuple[int, str, int], Phases] = field(default_factory=dict)
    _prices: dict[tuple[int, str, int], Size] = field(default_factory=dict)
    _reduced: dict[tuple[int, str, int], Linear] = field(default_factory=dict)

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
            same = isinstance(node.op, Reshape | Permute)
            self._sizes[index] = self.size(node.inputs[0]) if same else self.rounding.size(*self.intervals[index])
        return self._sizes[index]

    def price(self, index: int, name: str, entries: int, compute: Callable[[], Size]) -> Size:
        """`compute()`, once: the error of a step at node `index` per unit of the norm of rows of `entries`; (B,)."""
        key = (index, name, entries)
        if key not in self._prices:
            self._prices[key] = compute()
        return self._prices[key]

    def band(self, index: int, relaxation: Relaxation) -> Band:
        """The relaxation of nonlinear node `index` over the intervals of its inputs."""
        key = (index, relaxation.name)
        if key not in self._bands:
            node, size = self.graph.nodes[index], self.rounding.size
            planes = relax(node, [self.intervals[i] for i in node.inputs], relaxation)
            slopes = []
            for low, high in planes.slopes:
                centre = None if planes.flat else (low + high) / 2
                spread = None if planes.flat or planes.parallel else (high - low) / 2
                slopes.append(Slopes(centre, spread, size(low, high)))
            offset = (planes.upper_offset + planes.lower_offset) / 2
            spread = (planes.upper_offset - planes.lower_offset) / 2
            self._bands[key] = Band(tuple(slopes), offset, spread, size(planes.lower_offset, planes.upper_offset))
        return self._bands[key]

    def phases(self, index: int, relaxation: Relaxation, sample: int) -> Phases:
        """The neurons of ReLU `index` for one input of the batch. Its lines are exact for stable neurons."""
        key = (index, relaxation.name, sample)
        if key not in self._phases:
            lower, upper = (side[sample].flatten() for side in self.intervals[self.graph.nodes[index].inputs[0]])
            band = self.band(index, relaxation)
            active = lower >= 0
            unstable = (~active & ~(upper <= 0)).nonzero().squeeze(1)
            kept = torch.cat([unstable, active.nonzero().squeeze(1)])

            def pick(values: Tensor) -> Tensor:
                return values[sample].flatten()[unstable]

            (slopes,) = band.slopes
            assert slopes.centre is not None
            spread = None if slopes.spread is None else pick(slopes.spread)
            offsets = pick(band.offset), pick(band.offset_spread)
            self._phases[key] = Phases(kept, unstable, active.to(lower.dtype), pick(slopes.centre), spread, *offsets)
        return self._phases[key]

    def kept(self, index: int, relaxation: Relaxation, sample: int | None) -> Tensor | None:
        """The entries of node `index` that rows of one input are restricted to: neurons of a hidden layer of a dense
        network that are off contribute nothing. None where rows are kept in full."""
        if sample is None or relaxation.flat or index not in self._dense:
            return None
        return self.phases(self._dense[index], relaxation, sample).kept

    @cached_property
    def _dense(self) -> dict[int, int]:
        """Hidden dense layers: the ReLU of every ReLU whose input only it uses, and of that input."""
        graph, found = self.graph, {}
        for relu in graph.relus:
            (source,) = graph.nodes[relu].inputs
            dense = isinstance(graph.nodes[source].op, Linear) and len(graph.nodes[source].shape) == 1
            if dense and graph.consumers[source] == (relu,):
                found[source] = found[relu] = relu
        return found

    def reduced(self, index: int, relaxation: Relaxation, sample: int) -> Linear:
        """The affine node `index`, restricted to the entries of itself and its input that are kept for one input."""
        key = (index, relaxation.name, sample)
        if key not in self._reduced:
            op = self.graph.nodes[index].op
            assert isinstance(op, Linear)
            weight, bias = op.weight, op.bias
            rows, columns = (self.kept(i, relaxation, sample) for i in (index, self.graph.nodes[index].inputs[0]))
            if rows is not None:
                weight, bias = weight[rows], bias if bias is None else bias[rows]
            weight = weight if columns is None else weight.index_select(1, columns)
            if sum(held.weight.nbytes for held in self._reduced.values()) + weight.nbytes > _KEPT_BYTES:
                self._reduced.clear()
            self._reduced[key] = Linear(weight, bias)
        return self._reduced[key]
