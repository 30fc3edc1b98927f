"""From a problem to rows that have to be positive, and from the search over them to an outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.outcome import Outcome, Termination, Verdict
from sokbench.core.problem import Problem
from verifiers.bounds import margin_bounds
from verifiers.bounds.optimized.ascent import Schedule
from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
from verifiers.bounds.optimized.relaxed import Relaxed, tighten
from verifiers.bounds.optimized.sweep import Start
from verifiers.graph import graph_of
from verifiers.graph.rewriting.max_to_relu import max_to_relu
from verifiers.lp.input_set import InputSet, input_set

from .proofs.splits import Searched
from .search.branching import Branching
from .search.domains import Columns
from .search.refined_search import Inside, RefinedResult, RefinedSearch, State, domain_search
from .search.split_search import SplitSearch, SplitSettings, Witness
from .witness import LONG, WitnessFinder

_TIGHTENING_SHARE, _ATTACK_SHARE = 0.25, 0.25  # of the time left, for the root's intermediate bounds; for the attack
_SHORT = Schedule(5)  # of the root's bounds: closes most of what can be closed there, at a third of the cost


@dataclass(frozen=True, eq=False)
class Question:
    """Is every row of `start` (N rows of the output, float64) positive on the input set?

    relaxed: the network between sound bounds; bounds: (N,) proved lower bounds of the rows; inputs: the set as columns
    of a linear program; witness: judges points; attack: a longer one, for where bounds leave rows open.
    """

    relaxed: Relaxed
    start: Start
    bounds: Tensor
    inputs: InputSet
    witness: Witness
    attack: Callable[[Deadline], Tensor | None]


def question(problem: Problem, deadline: Deadline, plan: str = "crown", always: bool = False) -> Question | Outcome:
    """The margins that a plan leaves open; an outcome where it leaves none, or where an attack succeeds.

    always: ask for all margins even where the plan proves them. Raises `OutOfTime` with the plan's margins.
    """
    graph, label = graph_of(problem.network), torch.tensor([problem.label])
    margins = margin_bounds(graph, problem.x[None], label, problem.ball, plan, deadline)[0]
    if margins.min() > 0 and not always:
        return Outcome(Verdict.VERIFIED, float(margins.min()), stats={"decided_by": plan})
    finder = WitnessFinder(problem)
    witness = finder.attack(deadline)
    if witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
    graph = max_to_relu(graph)  # what there is to split in leaky ReLUs, absolute values, clamps and maxima
    try:
        relaxed = relaxed_input(graph, problem.x, problem.ball, deadline, plan)
    except OutOfTime:
        raise OutOfTime(margins[None]) from None
    if relaxed is None:
        verdict = Verdict.VERIFIED if margins.min() > 0 else Verdict.UNKNOWN
        return Outcome(verdict, _finite(margins), stats={"reason": "no finite bounds, or nothing to split"})
    others = torch.arange(graph.num_classes)
    others = others[others != problem.label]
    return Question(
        relaxed, margin_rows(graph, problem.label, others), margins[others], input_set(problem.x, problem.ball),
        finder.among, lambda deadline: finder.attack(deadline, LONG),
    )  # fmt: skip


def decide_rows(
    asked: Question, settings: SplitSettings, deadline: Deadline, proof: Callable[[Searched], None] | None = None
) -> Outcome:
    """Prove all rows positive, or find a witness. proof: called with what a proof needs, if all rows were proved."""
    inside = domain_search(asked.start, asked.inputs, asked.witness, settings, proof is not None)
    return decide_states(asked, lambda _: inside, settings.branching, deadline, proof)


def decide_states(
    asked: Question,
    inside: Callable[[dict[int, Tensor]], Inside],
    rule: Branching,
    deadline: Deadline,
    proof: Callable[[Searched], None] | None = None,
) -> Outcome:
    """As `decide_rows`. inside: from the entries of each ReLU that states keep, by node, to what searches a state;
    rule: which neurons are tried for the splits between states."""
    # a proof needs multipliers for every row, also for those that are positive already, and those of one round
    rows = (asked.bounds <= 0).nonzero().squeeze(1) if proof is None else torch.arange(len(asked.bounds))
    best = asked.bounds[rows] if proof is None else torch.full_like(asked.bounds, -torch.inf)
    for schedule in (None, _SHORT, Schedule()) if proof is None else (Schedule(),):
        if schedule is not None:
            tighten(asked.relaxed, schedule, deadline.share(_TIGHTENING_SHARE))
        relaxed, kept = asked.relaxed.reduced()
        found, ascent = relaxed.raise_rows(asked.start.take(rows), Schedule(), lambda bounds, _: bounds > 0, deadline)
        best = torch.maximum(best, found)
        if bool((best > 0).all()):
            break
        _, trace = relaxed.traced(asked.start.take(rows), ascent)
        assert trace.point is not None
        witness = asked.witness(trace.point)
        if witness is None and (schedule is _SHORT or proof is not None):
            witness = asked.attack(deadline.share(_ATTACK_SHARE))
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
    bounds = asked.bounds.clone()
    bounds[rows] = best
    root, began = State(relaxed, rows, best, ascent), time.monotonic()
    search = RefinedSearch(asked.start, inside(kept), rule, proof is not None)
    result = search.run(root, bounds, deadline)
    outcome = _outcome(result, time.monotonic() - began)
    if proof is not None and outcome.verdict is Verdict.VERIFIED:
        columns = Columns.of(relaxed.triangles(torch.float32))
        proof(Searched(result, kept, columns))
    return outcome


def search_plain(asked: Question, settings: SplitSettings, deadline: Deadline) -> Outcome:
    """As `decide_rows`, with parallel lines, the bounds that the question came with, and no refreshing of any."""
    relaxed, _ = asked.relaxed.reduced()
    relus = relaxed.triangles(torch.float32)
    rows = (asked.bounds <= 0).nonzero().squeeze(1)
    lines = {**relus.adaptive, **relus.chord}
    slopes = {index: values.repeat(len(rows), *(1 for _ in values.shape[1:])) for index, values in lines.items()}
    start, columns = asked.start.take(rows), Columns.of(relus)
    search = SplitSearch(relaxed, columns, start, asked.inputs, asked.witness, settings)
    began = time.monotonic()
    found = search.run(asked.bounds[rows], slopes, {}, deadline)
    bounds = asked.bounds.clone()
    bounds[rows] = found.bounds
    late = int(bool((found.bounds <= 0).any()) and deadline.expired())
    result = RefinedResult(bounds, found.witness, found.visited, 1, late, found.undecided)
    return _outcome(result, time.monotonic() - began)


def _outcome(result: RefinedResult, seconds: float) -> Outcome:
    stats = {
        "domains": result.domains,
        "search_seconds": round(seconds, 3),
        "states": result.states,
        "open": result.open,
        "undecided": result.undecided,
        "decided_by": "search" if result.domains else "alpha_crown",
    }
    if result.witness is not None:
        return Outcome(Verdict.FALSIFIED, witness=result.witness, stats=stats)
    margin = _finite(result.bounds)
    if margin is not None and margin > 0:
        return Outcome(Verdict.VERIFIED, margin, stats=stats)
    termination = Termination.TIMEOUT if result.open else Termination.OK
    return Outcome(Verdict.UNKNOWN, margin, None, termination, stats=stats)


def _finite(bounds: Tensor) -> float | None:
    least = float(bounds.min())
    return least if least > float("-inf") else None
