"""Bounded MILP: mixed-integer verification of ReLU networks after progressive bound tightening.

Encoded: the network exactly; each unstable ReLU with one binary for its phase and big-M constants from its own
pre-activation bounds, stable ones without. Complete for chains of affine layers (linear, convolution, average pool,
batch norm) and ReLU under l_inf with the box, and l1.

Decided, after a short attack, class by class, by branch and bound on the binaries (`phase_search`). Bounds are
tightened progressively, each step only for what the one before left open: intervals and CROWN; then a linear program
and a few nodes per class (most of what can be proved is proved there); then a linear program per side of each
unstable neuron, and the search to its end. Where the limit presses, a part of the last quarter of a class's time
goes to a mixed-integer solver on the big-M program (`big_m`), which looks for a counterexample in its own way.

What the verdicts rest on. A MIP solver calls a point feasible if it violates rows by 1e-6 and integrality by 1e-6 to
1e-5; with big-M rows that error is multiplied by the weights of the layers above, and presolve and cuts are computed
in floating point without error bounds. "Dual bound > 0" of HiGHS or Gurobi therefore proves nothing about the
network, and no fixed margin derived from the tolerances repairs it. So
- verified: every leaf of the search tree is closed by a dual bound or a Farkas certificate that our own arithmetic
  checked with derived rounding errors. Margins too close to zero for that remain unknown.
- falsified: by an input in the ball and the box, as float32 numbers, evaluated by the network in float64.

Cost: exponential in the number of unstable neurons at worst. Memory: one linear program and the list of open nodes.

V. Tjeng, K. Xiao, R. Tedrake: Evaluating Robustness of Neural Networks with Mixed Integer Programming. ICLR 2019.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem
    from verifiers.lp.chain import Instance
    from verifiers.lp.program import Objective
    from verifiers.lp.tighten import Relaxed

    from .phase_search import Search
    from .witness import WitnessFinder

# what of the remaining time goes to the search before tightening, to tightening, and to our own search of a class
_EARLY_SHARE, _EARLY_NODES = 0.5, 60
_TIGHTENING_SHARE = 0.4
_OWN_SEARCH_SHARE = 0.75
# HiGHS looks at its clock too rarely: told 5 s on a program of 6,900 rows, it took 8.2
_SOLVER_SHARE = 0.5


class MILP(CompleteVerifier):
    """Bounded MILP with certified leaves."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="milp",
        title="Bounded MILP",
        kind="verifier",
        family="mixed-integer programming",
        norms=("linf", "l1"),
        summary="Exact mixed-integer encoding of ReLU; bounds tightened by intervals, CROWN and linear programs; "
        "branch and bound on the binaries with every leaf certified.",
        paper="Tjeng et al., ICLR 2019",
        url="https://arxiv.org/abs/1711.07356",
        complete=True,
    )

    def __init__(self, solver: Literal["auto", "highs", "gurobi"] = "auto") -> None:
        """solver: which mixed-integer solver looks for counterexamples once our own search has used most of its time.
        "auto" is Gurobi where it is installed and its licence takes the problem, HiGHS otherwise."""
        if solver not in ("auto", "highs", "gurobi"):
            raise InvalidInput(f"unknown solver {solver!r} for milp; use auto, highs or gurobi")
        self.solver = solver

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from verifiers.lp.chain import instances
        from verifiers.lp.tighten import relax, tighten

        from .witness import WitnessFinder

        labels = torch.tensor([problem.label])
        (image,) = instances(problem.network, problem.x[None], labels, problem.ball, deadline)
        if image.margins.min() > 0:
            return Outcome(Verdict.VERIFIED, float(image.margins.min()), stats={"decided_by": "crown"})
        finder = WitnessFinder(problem, image.layers)
        witness = finder.attack(deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
        early = relax(image.layers, image.inputs, image.intervals)
        first = self._search(image, early, finder, deadline.share(_EARLY_SHARE), _EARLY_NODES)
        if first.verdict is not Verdict.UNKNOWN:
            return first
        tight = tighten(image.layers, image.inputs, image.intervals, deadline.share(_TIGHTENING_SHARE))
        last = self._search(image, tight, finder, deadline, math.inf)
        nodes = int(first.stats["nodes"]) + int(last.stats["nodes"])
        return replace(last, stats={**last.stats, "nodes": nodes})

    def _search(
        self, image: Instance, relaxed: Relaxed, finder: WitnessFinder, deadline: Deadline, most_nodes: float
    ) -> Outcome:
        """A linear program per open class, then branch and bound of at most `most_nodes` nodes where that fails."""
        from verifiers.lp.margins import bound_margins

        program, last = relaxed.program, image.layers[-1]
        stats = {"binaries": sum(len(columns.unstable) for columns in program.layers), "nodes": 0, "undecided": 0}
        points = bound_margins(
            program, relaxed.solver, last, image.label, image.margins, _open_classes(image), deadline
        )
        left = _open_classes(image)
        witness = finder.near([points[other] for other in left if other in points], deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={**stats, "decided_by": "attack"})
        finished = True
        for place, other in enumerate(left):
            objective, part = program.margin(last, image.label, other), deadline.share(1 / (len(left) - place))
            result = self._decide_class(relaxed, objective, finder, part, most_nodes)
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
        self, relaxed: Relaxed, objective: Objective, finder: WitnessFinder, deadline: Deadline, most_nodes: float
    ) -> Search:
        """Our own search; if that was to go to the end and time ended it, a solver's search for a counterexample."""
        from .big_m import search_big_m
        from .phase_search import search_phases

        own = deadline.share(_OWN_SEARCH_SHARE)
        result = search_phases(relaxed.program, relaxed.solver, objective, finder.at, own, most_nodes)
        if result.finished or most_nodes < math.inf or deadline.expired():
            return result
        claim = search_big_m(relaxed.program, objective, self.solver, deadline.share(_SOLVER_SHARE))
        if claim.point is None:
            return result
        return replace(result, witness=finder.at(claim.point[: relaxed.program.inputs.size]))


def _open_classes(image: Instance) -> list[int]:
    """The classes without a positive margin, the least margin first."""
    return [int(other) for other in np.argsort(image.margins) if image.margins[other] <= 0]
