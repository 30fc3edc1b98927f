"""CROWN with optimised slopes for many boxes at once, each below a box whose bounds are known: input splitting.

Hidden layers: rows only for the neurons that the parent box left unstable, which after a few splits are few, each with
the lines of its own box; CROWN's slopes. Margins: slopes of every row optimised by a few steps up the gradient, which
needs no tape (`sweep`): at the minimiser x* of the linear bound, d bound / d alpha_i = max(a_i, 0) z*_i.

Which coordinate to split (`influence`). What a bound loses against the network is the sum over the unstable neurons of
gap_i = |a_i| times the distance between ReLU and line, where a is the row above the neuron. Halving coordinate j takes
away its share of the width of z_i, that is |A_ij| w_j / (u_i - l_i) for the row A_i of z_i at the input and the box's
widths w. So the influence of j is sum_i gap_i |A_ij| w_j / (u_i - l_i). On ACAS Xu this needs 500 boxes where the
gradient times the width (ReluVal's smear, which goes on splitting one coordinate of boxes that it cannot close) needs
5,000 to more than 200,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from ..relaxations.relu import ADAPTIVE, Relaxation
from ..sets.inputs import Interval
from .ascent import Moments
from .box_rows import BoxLines, BoxRows, LinesAt, Pulled
from .sweep import Start

_CHUNK = 1 << 18  # entries of a layer's rows that are on their way at a time: tensors that stay in the cache
_STEPS, _RATE, _DECAY = 4, 0.5, 0.7  # of the first step of a slope, and per step
_SETTLED = 1e-300  # an offset below: the line is the ReLU
_LEVELS = 255  # slopes are multiples of 1 / 255: a proof holds each in one byte


def takes(graph: Graph) -> bool:
    """Whether all of a network's operations are affine maps, sums and ReLUs."""
    return all(isinstance(node.op, (LinearOp, Add, Relu)) for node in graph.nodes[1:])


@dataclass(frozen=True)
class Shown:
    """Functions `row` (P,) found positive in boxes `owner` (P,), by the relaxation's lower slopes or, for the M that
    are `moved` (P,), by slopes (M, *shape, uint8) / 255 of unstable neurons, by ReLU."""

    owner: Tensor
    row: Tensor
    moved: Tensor
    slopes: dict[int, Tensor]


@dataclass(frozen=True)
class BoxResult:
    """Of D boxes and K functions. bounds: (D, K) lower bounds; influence: (D, *shape) how much splitting a coordinate
    promises; points: (D, *shape) where the lowest bound is attained; hidden: sound bounds of the input of every ReLU;
    shown: how positive bounds were found, if they are to be proved."""

    bounds: Tensor
    influence: Tensor
    points: Tensor
    hidden: dict[int, Interval]
    shown: Shown | None = None


@dataclass(frozen=True)
class _Reach:
    """Neurons `entry` (R,) of ReLU `relu` in boxes `owner` (R,), and |A| of their rows at the input (R, inputs)."""

    relu: int
    owner: Tensor
    entry: Tensor
    rows: Tensor


@dataclass(frozen=True)
class _Ascended:
    """Of R rows: bounds (R,), the step at which they were attained (R,), and, if kept, the lower slopes there
    (R, *shape, uint8). Of those that stay open, `live` (P,): minimisers (P, *shape), and for each ReLU what the bound
    loses per neuron (P, *shape)."""

    bounds: Tensor
    step: Tensor
    slopes: dict[int, Tensor]
    live: Tensor
    points: Tensor
    gaps: dict[int, Tensor]


class ManyBoxes:
    """Lower bounds of the rows of `start` (K functions of one node, float64) on parts of an input set.

    hull: of the set; bounds: of the input of every ReLU on it; all (1, *shape). relaxation: of the ReLUs, with lower
    lines through the origin. Slopes of margins are optimised unless the relaxation has parallel lines. keep: what shows
    positive bounds, for a proof.
    """

    def __init__(
        self,
        graph: Graph,
        hull: Interval,
        bounds: Mapping[int, Interval],
        start: Start,
        relaxation: Relaxation = ADAPTIVE,
        keep: bool = False,
    ) -> None:
        self._keep = keep
        self._relax, self._steps = relaxation.relu, 0 if relaxation.parallel else _STEPS
        self._rows = BoxRows(graph, hull, bounds)
        self._graph, self._start = graph, start
        self._widest = max(lower.numel() for lower, _ in [hull, *bounds.values()])

    def bound(
        self, lower: Tensor, upper: Tensor, hidden: Mapping[int, Interval], known: Tensor, deadline: Deadline
    ) -> BoxResult:
        """On boxes [lower, upper] (D, *shape). hidden: bounds that hold on them, (D, *shape) for each ReLU; known:
        (D, K) bounds of the rows that do; those that are positive are left alone. Raises `OutOfTime`."""
        found, lines, reaches = self._hidden(lower, upper, hidden, deadline)
        owner, row = (known <= 0).nonzero().unbind(dim=1)
        raised = self._ascend(lower[owner], upper[owner], {i: line[owner] for i, line in lines.items()}, row, deadline)
        bounds = known.clone()
        bounds[owner, row] = torch.maximum(known[owner, row], raised.bounds)
        shown = _shown(owner, row, raised) if self._keep else None
        owner = owner[raised.live]
        points = (lower + upper) / 2
        points[owner] = raised.points  # of several rows, one
        influence = self._influence(upper - lower, found, owner, raised.gaps, reaches)
        return BoxResult(bounds, influence, points, found, shown)

    def _hidden(
        self, lower: Tensor, upper: Tensor, known: Mapping[int, Interval], deadline: Deadline
    ) -> tuple[dict[int, Interval], dict[int, Tensor], list[_Reach]]:
        """(bounds of the input of every ReLU, lines (D, 3, *shape), the rows that they took)."""
        found: dict[int, Interval] = {}
        lines: dict[int, Tensor] = {}
        reaches: list[_Reach] = []
        for relu in self._graph.relus:
            (index,) = self._graph.nodes[relu].inputs
            low, up = (side.flatten(1).clone() for side in known[relu])
            for owner, entry in self._chunks(((low < 0) & (up > 0)).nonzero()):
                deadline.check()
                source, start = self._rows.unit(index, entry)
                pulled = self._rows.pull(source, start, _of_owners(lines, owner))
                sides = self._rows.least(pulled, lower[owner], upper[owner])
                low[owner, entry] = torch.maximum(low[owner, entry], sides[0])
                up[owner, entry] = torch.minimum(up[owner, entry], -sides[1])
                reaches.append(_Reach(relu, owner, entry, pulled.rows.abs().amax(dim=0).flatten(1)))
            shape = (len(lower), *self._graph.nodes[relu].shape)
            found[relu] = Interval(low.reshape(shape), torch.maximum(low, up).reshape(shape))
            each = self._relax(*found[relu])
            lines[relu] = torch.stack([each.lower_slope, each.upper_slope, each.upper_offset], dim=1)
        return found, lines, reaches

    def _chunks(self, neurons: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(owner, entry) of neurons (R, 2), so many at a time as the cache holds."""
        for part in torch.split(neurons, max(1, _CHUNK // (2 * self._widest))):
            if len(part):
                yield part[:, 0], part[:, 1]

    def _ascend(
        self, lower: Tensor, upper: Tensor, lines: Mapping[int, Tensor], row: Tensor, deadline: Deadline
    ) -> _Ascended:
        """Raise the bounds of rows `row` (R,) on boxes (R, *shape) with lines (R, 3, *shape), until they are positive
        or the steps are used up."""
        live = torch.arange(len(row))
        best = lower.new_full((len(row),), -torch.inf)
        at, slopes = torch.zeros_like(row), {relu: _bytes(line) for relu, line in lines.items()} if self._keep else {}
        moments: dict[int, Moments] = {}
        for step in range(self._steps + 1):
            deadline.check()
            each = {relu: BoxLines(*line.unbind(dim=1)) for relu, line in lines.items()}
            trace: dict[int, Tensor] = {}
            pulled = self._rows.pull(self._start.index, self._first(row[live]), each.__getitem__, trace)
            least = self._rows.least(pulled, lower, upper)[0]
            better = (least > best[live]).nonzero().squeeze(1)
            best[live[better]], at[live[better]] = least[better], step
            for relu, kept in slopes.items():
                kept[live[better]] = _bytes(lines[relu][better])
            points = torch.where(pulled.rows[0] > 0, lower, upper)
            if step == self._steps or not bool((best[live] <= 0).any()):
                break
            lines = self._moved(points, each, trace, moments, step)
            if step == 0:
                left = (best[live] <= 0).nonzero().squeeze(1)
                live, lower, upper = live[left], lower[left], upper[left]
                lines = {relu: line[left] for relu, line in lines.items()}
                moments = {relu: moment.take(left) for relu, moment in moments.items()}
        gaps = {relu: _gap(rows[0], each[relu]) for relu, rows in trace.items()}
        return _Ascended(best, at, slopes, live, points, gaps)

    def _first(self, row: Tensor) -> Pulled:
        start = self._start.take(row)
        slack = start.slack if isinstance(start.slack, Tensor) else start.constants.new_full((), start.slack)
        return Pulled(start.rows[None], start.constants[None], slack.expand(1, 1, len(row))[0])

    def _moved(
        self,
        points: Tensor,
        lines: Mapping[int, BoxLines],
        trace: Mapping[int, Tensor],
        moments: dict[int, Moments],
        step: int,
    ) -> dict[int, Tensor]:
        """Lines with lower slopes one step further up. (Any slope in [0, 1] is sound, for stable neurons too.)"""
        values = self._rows.values(points, lines.__getitem__, trace)
        moved = {}
        for relu, (low, chord, offset) in lines.items():
            if relu in trace:
                (source,) = self._graph.nodes[relu].inputs
                gradient = trace[relu][0].clamp(min=0) * values[source] * (offset > _SETTLED)
                moment = moments.setdefault(relu, Moments.like(low))
                low = low + _RATE * _DECAY**step * moment.step(gradient, step + 1)
                low = low.clamp_(0, 1).mul_(_LEVELS).round_().div_(_LEVELS)
            moved[relu] = torch.stack([low, chord, offset], dim=1)
        return moved

    def _influence(
        self, width: Tensor, hidden: Mapping[int, Interval], owner: Tensor, gaps: Mapping[int, Tensor],
        reaches: list[_Reach],
    ) -> Tensor:  # fmt: skip
        """width (D, *shape); owner (P,): of the rows that `gaps` (P, *shape) belong to."""
        found = torch.zeros_like(width.flatten(1))
        shares = {}
        for relu, gap in gaps.items():
            lower, upper = hidden[relu]
            total = torch.zeros_like(lower).index_add_(0, owner, gap)
            shares[relu] = torch.where((lower < 0) & (upper > 0), total / (upper - lower), 0.0).flatten(1)
        for reach in reaches:
            if reach.relu in shares:
                share = shares[reach.relu][reach.owner, reach.entry]
                found.index_add_(0, reach.owner, share[:, None] * reach.rows)
        return found.reshape(width.shape) * width


def _bytes(lines: Tensor) -> Tensor:
    """The lower slopes of lines (R, 3, *shape), where they matter."""
    return torch.where(lines[:, 2] > _SETTLED, lines[:, 0] * _LEVELS, 0.0).round().to(torch.uint8)


def _shown(owner: Tensor, row: Tensor, raised: _Ascended) -> Shown:
    good = (raised.bounds > 0).nonzero().squeeze(1)
    moved = raised.step[good] > 0
    slopes = {relu: slopes[good[moved]] for relu, slopes in raised.slopes.items()}
    return Shown(owner[good], row[good], moved, slopes)


def _of_owners(lines: Mapping[int, Tensor], owner: Tensor) -> LinesAt:
    """The lines (D, 3, *shape) of the boxes that rows belong to."""
    return lambda relu: BoxLines(*lines[relu].index_select(0, owner).unbind(dim=1))


def _gap(rows: Tensor, lines: BoxLines) -> Tensor:
    """What rows a lose between line and ReLU: |a| times the chord's offset for a < 0; for a > 0, |a| times half the
    smaller of -l and u, near enough"""
    return torch.where(rows < 0, -rows, 0.5 * rows) * lines.offset
