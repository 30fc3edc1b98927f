"""What the complete methods on linear programs share: bounds, attack, tightening, then branch and bound on phases.

They differ in a `Recipe`: where the pre-activation bounds come from, how they are tightened, and who looks for a
counterexample last. In all of them a class is proved by `phase_search` alone, whose leaves are certified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from sokbench.core.deadline import OutOfTime
from sokbench.core.outcome import Outcome, Termination, Verdict
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import relaxed_input
from verifiers.bounds.optimized.relaxed import tighten
from verifiers.graph import graph_of
from verifiers.lp.chain import instances, intervals_of
from verifiers.lp.margins import bound_margins
from verifiers.lp.tighten import Relaxed, relax

from .search.big_m import Solver, search_witness
from .search.phase_search import ENDLESS, Patience, Search, search_phases
from .witness import WitnessFinder

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.problem import Problem
    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.chain import Instance, Interval
    from verifiers.lp.input_set import InputSet
    from verifiers.lp.program import Objective

    Tighten = Callable[[Sequence[AffineLayer], InputSet, Sequence[Interval], Deadline], Relaxed]

# what of the remaining time goes to the search before tightening, to tightening, and to our own search of a class
_EARLY_SHARE, _EARLY_NODES = 0.5, 60
_TIGHTENING_SHARE = 0.4
_OWN_SEARCH_SHARE = 0.75


@dataclass(frozen=True)
class Recipe:
    """plan: of the pre-activation bounds; ascent: whether they are raised by dual ascent first; tighten: how they are
    improved by linear programs, None for not at all (before it, a few nodes per class are tried); solver: of the big-M
    program that looks for a counterexample when a class's own search has used most of its time, None for nobody."""

    plan: str
    ascent: bool = False
    tighten: Tighten | None = None
    solver: Solver | None = None


def decide_chain(problem: Problem, recipe: Recipe, deadline: Deadline) -> Outcome:
    """Verified by certified leaves, falsified by an input judged in float64, or what was proved until the deadline."""
    labels = torch.tensor([problem.label])
    (image,) = instances(problem.network, problem.x[None], labels, problem.ball, deadline, recipe.plan)
    if image.margins.min() > 0:
        return Outcome(Verdict.VERIFIED, float(image.margins.min()), stats={"decided_by": "bounds"})
    finder = WitnessFinder(problem, image.layers)
    witness = finder.attack(deadline)
    if witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
    if recipe.ascent:
        image = _raised(image, problem, recipe.plan, deadline.share(_TIGHTENING_SHARE))
    plain, nodes = relax(image.layers, image.inputs, image.intervals), 0
    if recipe.tighten is not None:
        first = _search(image, plain, finder, deadline.share(_EARLY_SHARE), Patience(_EARLY_NODES), None)
        if first.verdict is not Verdict.UNKNOWN:
            return first
        plain = recipe.tighten(image.layers, image.inputs, image.intervals, deadline.share(_TIGHTENING_SHARE))
        nodes = int(first.stats["nodes"])
    last = _search(image, plain, finder, deadline, ENDLESS, recipe.solver)
    return replace(last, stats={**last.stats, "nodes": nodes + int(last.stats["nodes"])})


def _raised(image: Instance, problem: Problem, plan: str, deadline: Deadline) -> Instance:
    """The bounds of every layer as the linear programs over the layers below would give them, solved in their dual."""
    with torch.no_grad():
        try:
            state = relaxed_input(graph_of(problem.network), problem.x, problem.ball, deadline, plan)
        except OutOfTime:
            return image
        if state is None:  # no ReLU at all
            return image
        tighten(state, Schedule(), deadline)
    return replace(image, intervals=intervals_of(state))


def _search(
    image: Instance,
    relaxed: Relaxed,
    finder: WitnessFinder,
    deadline: Deadline,
    patience: Patience,
    solver: Solver | None,
) -> Outcome:
    """A linear program per open class, then branch and bound as far as `patience` goes where that fails."""
    program, last = relaxed.program, image.layers[-1]
    stats = {"binaries": sum(len(columns.unstable) for columns in program.layers), "nodes": 0, "undecided": 0}
    points = bound_margins(program, relaxed.solver, last, image.label, image.margins, _open_classes(image), deadline)
    left = _open_classes(image)
    witness = finder.near([points[other] for other in left if other in points], deadline)
    if witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=witness, stats={**stats, "decided_by": "attack"})
    finished = True
    for place, other in enumerate(left):
        objective, part = program.margin(last, image.label, other), deadline.share(1 / (len(left) - place))
        result = _decide_class(relaxed, objective, finder, part, patience, solver)
        stats["nodes"] += result.nodes
        stats["undecided"] += result.undecided
        if result.witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=result.witness, stats={**stats, "decided_by": "search"})
        image.margins[other] = max(image.margins[other], result.bound)
        finished = finished and result.finished
    margin = float(image.margins.min())
    if margin > 0:
        return Outcome(Verdict.VERIFIED, margin, stats={**stats, "decided_by": "search"})
    return Outcome(Verdict.UNKNOWN, margin, None, Termination.OK if finished else Termination.TIMEOUT, stats=stats)


def _decide_class(
    relaxed: Relaxed,
    objective: Objective,
    finder: WitnessFinder,
    deadline: Deadline,
    patience: Patience,
    solver: Solver | None,
) -> Search:
    """Our own search; where time ended it and a solver is named, that one's search for a counterexample."""
    own = deadline if solver is None else deadline.share(_OWN_SEARCH_SHARE)
    result = search_phases(relaxed.program, relaxed.solver, objective, finder.at, own, patience)
    if result.finished or solver is None or deadline.expired():
        return result
    return replace(result, witness=search_witness(relaxed.program, objective, solver, finder.at, deadline))


def _open_classes(image: Instance) -> list[int]:
    """The classes without a positive margin, the least margin first."""
    return [int(other) for other in np.argsort(image.margins) if image.margins[other] <= 0]
