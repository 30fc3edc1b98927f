"""Branch and bound over ReLU phases, every closed node proved by a safe dual bound.

This is linear-programming based branch and bound on the binaries of the big-M encoding of a ReLU network, with the
binaries projected out: relaxing a binary to [0, 1] leaves the triangle between the neuron's bounds, fixing it to 0 or
1 fixes the phase. A node is a set of fixed phases and its program differs from the root's in bounds alone, so one
warm model serves all nodes: the last basis stays dual feasible. All nodes have to be closed in the end, whatever their
order, so the search goes depth first, where one basis is near the next: a third fewer seconds than best first.

What a verdict rests on: a node is closed when its safe dual bound is positive, or when a Farkas ray, checked in our
own arithmetic, proves that it is empty (`verifiers.lp.safe_bound`). The two children of a node cover it in real
arithmetic: p >= 0 and z = p, or p <= 0 and z = 0. Neither the solver's objective, nor its status, nor any of its
tolerances is part of the proof.

K. Xu et al., Tjeng et al. (ICLR 2019) give the encoding; the split by phases is Bunel et al., JMLR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from verifiers.lp.safe_bound import Bounds, Vector
from verifiers.lp.solver import LinearSolver, Solution, Status

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from verifiers.lp.program import Objective, TriangleProgram


_EXACT = 1e-9
"""A neuron this close to its ReLU is not worth a split. Too large a value leaves problems undecided, never wrong."""


@dataclass(frozen=True)
class Split:
    """One fixed phase: neuron `neuron` of ReLU layer `layer` is active (p >= 0) or inactive (p <= 0)."""

    layer: int
    neuron: int
    active: bool


class _Node(NamedTuple):
    """An open node: what its parent's bound was."""

    bound: float
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Search:
    """bound: proved lower bound of the objective; witness: what refutes it, if found; nodes: linear programs solved;
    finished: False if the deadline or the number of nodes came first; undecided: leaves within rounding of zero, which
    were neither proved nor refuted."""

    bound: float
    witness: Tensor | None
    nodes: int
    finished: bool
    undecided: int


@dataclass(frozen=True)
class Patience:
    """After `nodes` linear programs a search goes on only as long as no more than `expected` are to be expected in
    all, by the share of the tree that is closed."""

    nodes: float
    expected: float = 0.0

    def lasts(self, nodes: int, share: float) -> bool:
        return nodes < self.nodes or nodes < self.expected * share


ENDLESS = Patience(math.inf)


def search_phases(
    program: TriangleProgram,
    solver: LinearSolver,
    objective: Objective,
    witness_at: Callable[[Vector], Tensor | None],
    deadline: Deadline,
    patience: Patience = ENDLESS,
    splits: tuple[Split, ...] = (),
) -> Search:
    """Decide whether `objective` is positive on the program's network.

    splits: phases that are fixed from the outset;
    witness_at: turns an input (n,) that the relaxation points at into a counterexample, or None if it is not one.
    On return the solver has the program's own bounds again.
    """
    open_nodes = [_Node(-math.inf, splits)]
    proved, nodes, undecided, witness, share = math.inf, 0, 0, None, 0.0
    stop_above = 1e-6 * _scale(objective, program.bounds)
    while open_nodes and witness is None and patience.lasts(nodes, share) and not deadline.expired():
        node = open_nodes.pop()
        bounds = phase_bounds(program, node.splits)
        solver.set_bounds(bounds)
        solution = _prove(solver, objective, deadline, stop_above)
        nodes += 1
        bound = max(node.bound, solution.bound)
        if bound > 0:
            proved, share = min(proved, bound), share + 0.5 ** (len(node.splits) - len(splits))
            continue
        if solution.status is Status.TIME:
            open_nodes.append(_Node(bound, node.splits))
            break
        witness = witness_at(solution.primal[: program.inputs.size])
        split = choose_split(program, node.splits, solution)
        if split is None:
            undecided += 1
            proved = min(proved, bound)
            continue
        # next comes the phase of the relaxation's point: that program's basis is near
        for active in (not split.active, split.active):
            open_nodes.append(_Node(bound, (*node.splits, Split(split.layer, split.neuron, active))))
    solver.set_bounds(program.bounds)
    left = min((node.bound for node in open_nodes), default=math.inf)
    return Search(min(proved, left), witness, nodes, not open_nodes or witness is not None, undecided)


def _prove(solver: LinearSolver, objective: Objective, deadline: Deadline, stop_above: float) -> Solution:
    """The node's bound. A stop at `stop_above` whose safe bound is not positive is continued to the optimum."""
    solution = solver.minimum(objective, deadline, stop_above)
    if solution.status is Status.CUT_OFF and solution.bound <= 0:
        solution = solver.minimum(objective, deadline)
    return solution


def _scale(objective: Objective, bounds: Bounds) -> float:
    reach = np.maximum(np.abs(bounds.lower), np.abs(bounds.upper))
    return float(np.abs(objective.cost) @ reach) + abs(objective.offset)


def phase_bounds(program: TriangleProgram, splits: tuple[Split, ...]) -> Bounds:
    """The program's bounds with the phases of `splits` fixed."""
    bounds = program.bounds.copy()
    for split in splits:
        columns = program.layers[split.layer]
        pre, post = columns.pre[split.neuron], columns.post[split.neuron]
        if split.active:
            bounds.lower[pre] = 0.0
            bounds.row_upper[columns.floor[split.neuron]] = 0.0
        else:
            bounds.upper[pre] = bounds.upper[post] = 0.0
    return bounds


def choose_split(program: TriangleProgram, splits: tuple[Split, ...], solution: Solution) -> Split | None:
    """The free neuron whose split should raise the bound most, towards the phase of the relaxation's point.

    Score: the chord's intercept -l u / (u - l) times the price (row dual) that the chord has at the relaxation's
    optimum. That is the intercept score of BaBSR with exact prices; of six scores tried on networks of 60 to 300
    neurons it needed the fewest nodes. Neurons off their ReLU come first; then the larger gap, then the larger area.
    None if no neuron is free, or if at an optimal point every free neuron is exact: then the point is a value of the
    network and no split moves it.
    """
    fixed = {(split.layer, split.neuron) for split in splits}
    candidates: list[tuple[bool, float, float, float, Split]] = []
    for depth, columns in enumerate(program.layers):
        neurons = columns.unstable
        pre, post = solution.primal[columns.pre[neurons]], solution.primal[columns.post[neurons]]
        gap = post - np.maximum(pre, 0.0)
        area = -columns.lower[neurons] * columns.upper[neurons]
        intercept = area / (columns.upper[neurons] - columns.lower[neurons])
        score = np.abs(solution.dual[columns.chord[neurons]]) * intercept
        for neuron, p, g, s, a in zip(neurons, pre, gap, score, area, strict=True):
            if (depth, int(neuron)) not in fixed:
                split = Split(depth, int(neuron), bool(p > 0))
                candidates.append((bool(g > _EXACT), float(s), float(g), float(a), split))
    best = max(candidates, key=lambda candidate: candidate[:4], default=None)
    if best is None or (solution.status is Status.OPTIMAL and not best[0]):
        return None
    return best[4]
