"""States searched by linear programs: the triangle program of a state's bounds, and branch and bound on its phases.

A program is exact about what the bounds leave open and cheap to go on with once its first basis is found; but its
relaxation stays that of the bounds it was built from. So each state of `refined_search` gets a program of its own,
with the bounds that its splits have tightened everywhere; the splits themselves are rows of it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from verifiers.lp.chain import intervals_of
from verifiers.lp.tighten import relax

from .phase_search import Patience, Split, search_phases
from .split_search import SplitResult

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from verifiers.bounds.optimized.relaxed import Relaxed
    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.chain import Interval
    from verifiers.lp.input_set import InputSet
    from verifiers.lp.safe_bound import Vector

    from .domains import Columns
    from .refined_search import State

_PATIENCE = Patience(256, 8192)
"""Of the worst row of a state: where an end is in sight, one more split's bounds gain less than going on."""


@dataclass(frozen=True, eq=False)
class StatePrograms:
    """layers: the network as a chain; root: it between bounds that hold everywhere, kept: by ReLU, the entries of it
    that states have; label, others: the rows of the question are the margins of `label` over each of these classes;
    witness_at: turns an input (n,) into a counterexample, or None."""

    layers: Sequence[AffineLayer]
    inputs: InputSet
    root: Relaxed
    kept: Mapping[int, Tensor]
    label: int
    others: Sequence[int]
    witness_at: Callable[[Vector], Tensor | None]

    def __call__(self, state: State, columns: Columns, deadline: Deadline) -> SplitResult:
        """Rows from the worst one on; after the first that is not closed, a single program for each."""
        intervals, splits = self._program_of(state.relaxed)
        bounds, visited, undecided, witness = state.bounds.clone(), 0, 0, None
        if any((low > high).any() for low, high in intervals):
            return SplitResult(torch.full_like(bounds, torch.inf), None, 0, 0, [])  # the splits exclude each other
        relaxed, patience = relax(self.layers, self.inputs, intervals), _PATIENCE
        program = relaxed.program
        for place in state.bounds.argsort().tolist():
            objective = program.margin(self.layers[-1], self.label, self.others[int(state.rows[place])])
            found = search_phases(program, relaxed.solver, objective, self.witness_at, deadline, patience, splits)
            visited, undecided, witness = visited + found.nodes, undecided + found.undecided, found.witness
            bounds[place] = max(float(bounds[place]), found.bound)
            if witness is not None:
                break
            patience = patience if found.bound > 0 else Patience(1)
        return SplitResult(bounds, witness, visited, undecided, [])

    def _program_of(self, state: Relaxed) -> tuple[list[Interval], tuple[Split, ...]]:
        """(bounds of every ReLU's input, the splits that these do not say). A neuron that a split made inactive would
        have no column; it gets the root's upper bound, and the split is a bound of its column."""
        intervals, splits = [], []
        for depth, (relu, (low, high)) in enumerate(zip(self.root.graph.relus, intervals_of(self.root), strict=True)):
            entries, most = self.kept[relu].numpy(), high.copy()
            low[entries], high[entries] = (side.flatten().numpy() for side in state.bounds[relu])
            if relu in state.signs:
                fixed = entries[(state.signs[relu] > 0).flatten().numpy()]
                high[fixed] = most[fixed]
                splits += [Split(depth, int(neuron), active=False) for neuron in fixed[most[fixed] > 0]]
            intervals.append((low, high))
        return intervals, tuple(splits)
