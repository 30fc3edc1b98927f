"""Branch and bound with refreshed intermediate bounds: splits at the top of the tree tighten every layer above.

A state is a set of splits with intermediate bounds of its own. Its rows are first searched with those bounds
kept (`split_search`: thousands of domains per second; `state_programs`: a linear program each); where that does not
promise an end, one more neuron is split, and in both halves the bounds of all layers are raised again with the slopes
found before and multipliers for the splits. Two or three such splits close what 10,000 domains with the root's bounds
do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.bounds.optimized.ascent import Ascent, Schedule
from verifiers.bounds.optimized.relaxed import Relaxed, tighten
from verifiers.bounds.optimized.sweep import Start
from verifiers.lp.input_set import InputSet

from .branching import Branching, scores
from .domains import Columns
from .split_search import Leaf, SplitResult, SplitSearch, SplitSettings, Witness

_REFRESH, _ROWS = Schedule(4), Schedule(12)
_DEEPEST = 64  # splits one after the other where smooth activations could be split for ever
_TRIED = 3  # layers of which a split is tried at a state, after the first one, where all are
_WORSE = 1.5  # a layer that left so much more the last time is not tried again
_TRYING_SHARE = 0.1  # of the time that is left


@dataclass(frozen=True, eq=False)
class State:
    """relaxed: the network with the state's phases fixed; rows: (K,) which of the question's rows are open; bounds:
    (K,) of them, with the slopes and gammas of `ascent`; path: signed column + 1 of the splits, from the root."""

    relaxed: Relaxed
    rows: Tensor
    bounds: Tensor
    ascent: Ascent
    path: tuple[int, ...] = ()

    def part(self, places: Tensor) -> State:
        """The state with some of its rows."""
        ascent = Ascent(
            {}, {}, self.ascent.best[places],
            {index: values[places] for index, values in self.ascent.best_slopes.items()},
            {index: values[places] for index, values in self.ascent.best_gammas.items()},
        )  # fmt: skip
        return State(self.relaxed, self.rows[places], self.bounds[places], ascent, self.path)


@dataclass(frozen=True)
class Proved:
    """What a state contributes to a proof. relaxed: its bounds, and how they were raised; leaves: of the rows closed
    there, with `target` a row of the question; their paths begin at the state."""

    relaxed: Relaxed
    leaves: list[Leaf]


@dataclass
class RefinedResult:
    """bounds: (N,) proved lower bounds of all rows; open: states left; states, domains: looked at; proof: by
    the path of each state, if it was to be kept."""

    bounds: Tensor
    witness: Tensor | None = None
    domains: int = 0
    states: int = 0
    open: int = 0
    undecided: int = 0
    proof: dict[tuple[int, ...], Proved] = field(default_factory=dict)


Inside = Callable[[State, Columns, Deadline], SplitResult]
"""Searches the open rows of a state with the state's intermediate bounds; gives up where no end is in sight."""


def domain_search(start: Start, inputs: InputSet, witness: Witness, settings: SplitSettings, keep: bool) -> Inside:
    """Searches states with batched dual ascent (`split_search`). start: all rows of the question."""

    def inside(state: State, columns: Columns, deadline: Deadline) -> SplitResult:
        rows = start.take(state.rows)
        search = SplitSearch(state.relaxed, columns, rows, inputs, witness, settings, keep)
        return search.run(state.bounds, state.ascent.best_slopes, state.ascent.best_gammas, deadline)

    return inside


@dataclass(frozen=True, eq=False)
class RefinedSearch:
    """start: the rows (N) of the question, each to be proved positive; inside: searches a state; rule: which neurons of
    a state are tried; keep: whether the proof is kept; left: by layer, the part of the bounds that the last split there
    left open."""

    start: Start
    inside: Inside
    rule: Branching = "gap"
    keep: bool = False
    left: dict[int, float] = field(default_factory=dict)

    def run(self, root: State, bounds: Tensor, deadline: Deadline) -> RefinedResult:
        """bounds: (N,) proved before; `root` has the rows that are open, or all of them where a proof is kept."""
        columns = Columns.of(root.relaxed.triangles(torch.float32))
        result = RefinedResult(bounds.clone())
        result.bounds[root.rows] = torch.inf
        self._account(result, root, columns)
        stack = [root.part(open_rows)] if len(open_rows := (root.bounds <= 0).nonzero().squeeze(1)) else []
        while stack and result.witness is None and not deadline.expired():
            state = stack.pop()
            found = self.inside(state, columns, deadline)
            self._count(result, state, found)
            left = (found.bounds <= 0).nonzero().squeeze(1)
            if not len(left) or found.witness is not None:
                continue
            rest = state.part(left)
            # a leaf that cannot be decided ends the matter for ReLUs; halves can be halved again, up to a point
            ended = len(state.path) >= _DEEPEST if columns.above else found.undecided
            candidates = [] if ended else self._candidates(rest, columns)
            if not candidates:
                result.undecided += 1
                _lower(result, rest)
                continue
            if deadline.expired():
                stack.append(rest)
                continue
            for child in self._best_halves(rest, columns, candidates, deadline):
                self._account(result, child, columns)
                open_rows = (child.bounds <= 0).nonzero().squeeze(1)
                if len(open_rows):
                    stack.append(child.part(open_rows))
        result.open = len(stack)
        for state in stack:
            _lower(result, state)
        return result

    def _count(self, result: RefinedResult, state: State, found: SplitResult) -> None:
        result.states += 1
        result.domains += found.visited
        result.undecided += found.undecided
        result.witness = found.witness
        closed = found.bounds > 0
        rows = state.rows[closed]
        result.bounds[rows] = torch.minimum(result.bounds[rows], found.bounds[closed])
        if self.keep:
            renamed = (replace(leaf, target=int(state.rows[leaf.target])) for leaf in found.leaves)
            result.proof[state.path].leaves.extend(renamed)

    def _candidates(self, state: State, columns: Columns) -> list[int]:
        """In every layer the free neuron with the largest estimate, summed over the open rows in units of their bounds;
        the layers where splits gained most come first, then those not tried yet, from the input on.

        An estimate sees what a split changes in the rows, not what it changes in the bounds of the layers above: on
        deep networks neurons of the first layer with small estimates can gain ten times as much as any other.
        """
        if not columns.width:
            return []
        relus = state.relaxed.triangles(torch.float32)
        rough, trace = state.relaxed.traced(self.start.take(state.rows), state.ascent)
        estimate = scores(self.rule, state.relaxed.search, rough, trace, relus, columns)[0]
        total = (estimate / state.bounds.abs().clamp(min=1e-30).float()[:, None]).sum(dim=0)[None]
        best = {}
        for index, entries in columns.entries.items():
            part = columns.part(index, total)[0]
            if len(entries) and float(part.max()) > -torch.inf:
                best[index] = columns.first[index] + int(part.argmax())
        return [best[index] for index in sorted(best, key=lambda index: (self.left.get(index, math.inf), index))]

    def _best_halves(
        self, state: State, columns: Columns, candidates: list[int], deadline: Deadline
    ) -> tuple[State, ...]:
        """Both halves of the split that leaves least open, of those that there is time to try."""
        best: tuple[State, ...] = ()
        least, most = math.inf, _TRIED if self.left else len(candidates)
        for place, column in enumerate(candidates[:most]):
            layer, began = columns.neuron(column)[0], time.monotonic()
            if best and self.left.get(layer, 0.0) > _WORSE * least:
                break
            halves = tuple(self._children(state, columns, column, deadline))
            cost = time.monotonic() - began
            open_parts = [(-half.bounds / state.bounds.abs()).nan_to_num(1.0).clamp(0, 1).mean() for half in halves]
            self.left[layer] = left = float(sum(open_parts))
            if not best or left < least:
                best, least = halves, left
            # more tries than the time allows are not begun: the cost is known from the first one
            if left == 0.0 or (place + 1) * cost > _TRYING_SHARE * deadline.remaining():
                break
        return best

    def _children(self, state: State, columns: Columns, column: int, deadline: Deadline) -> Iterator[State]:
        relu, entry = columns.neuron(column)
        start = self.start.take(state.rows)
        for sign in (1, -1):
            half = state.relaxed.fix(relu, entry, sign)
            tighten(half, _REFRESH, deadline)
            bounds, ascent = half.raise_rows(start, _ROWS, lambda found, _: found > 0, deadline)
            better = torch.maximum(bounds, state.bounds)
            yield State(half, state.rows, better, ascent, (*state.path, sign * (column + 1)))

    def _account(self, result: RefinedResult, child: State, columns: Columns) -> None:
        """Note the rows that the state's own bounds have closed."""
        closed = child.bounds > 0
        rows = child.rows[closed]
        result.bounds[rows] = torch.minimum(result.bounds[rows], child.bounds[closed])
        if not self.keep:
            return
        vectors = columns.gather_slopes(child.ascent.best_slopes, len(child.rows))
        gammas = columns.gather(child.ascent.best_gammas, len(child.rows))
        start, found = self.start.take(child.rows), child.ascent
        lines = child.relaxed.curve_slopes(start, found.best_slopes, found.best_gammas) if columns.above else {}
        slopes = columns.gather_lines(vectors, lines)
        places = closed.nonzero().squeeze(1).tolist()
        leaves = [Leaf(int(child.rows[i]), (), float(child.bounds[i]), slopes[i], gammas[i]) for i in places]
        result.proof[child.path] = Proved(child.relaxed, leaves)


def _lower(result: RefinedResult, state: State) -> None:
    """Rows that are left open have the bounds of their state."""
    result.bounds[state.rows] = torch.minimum(result.bounds[state.rows], state.bounds)
