"""Bounded MILP: mixed-integer verification of ReLU networks after progressive bound tightening.

Encoded: the network exactly; each unstable ReLU with one binary for its phase and big-M constants from its own
pre-activation bounds, stable ones without. The bounds are tightened progressively, each step only where the one
before left a neuron unstable: interval arithmetic and CROWN (one pass), then a linear program per side. Complete for
chains of affine layers (linear, convolution, average pool, batch norm) and ReLU under l_inf with the box, and l1.

Decided, class by class, by branch and bound on the binaries (`phase_search`), after a short attack. Where the limit
presses, the last quarter of a class's time goes to a mixed-integer solver on the big-M program (`big_m`), which looks
for a counterexample in its own way.

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
    from verifiers.lp.tighten import Tightened

    from .phase_search import Search
    from .witness import WitnessFinder

_TIGHTENING_SHARE = 0.4
_OWN_SEARCH_SHARE = 0.75


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
        from verifiers.lp.tighten import share, tighten

        from .witness import WitnessFinder

        labels = torch.tensor([problem.label])
        (image,) = instances(problem.network, problem.x[None], labels, problem.ball, deadline)
        if image.margins.min() > 0:
            return Outcome(Verdict.VERIFIED, float(image.margins.min()), stats={"decided_by": "crown"})
        finder = WitnessFinder(problem, image.layers)
        witness = finder.attack(deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
        tight = tighten(image.layers, image.inputs, image.intervals, share(deadline, _TIGHTENING_SHARE))
        return self._search(image, tight, finder, deadline)

    def _search(self, image: Instance, tight: Tightened, finder: WitnessFinder, deadline: Deadline) -> Outcome:
        """The decision on the finished program: a linear program per class, then branch and bound where that fails."""
        from verifiers.lp.margins import bound_margins
        from verifiers.lp.tighten import share

        program, last = tight.program, image.layers[-1]
        stats = {"binaries": sum(len(columns.unstable) for columns in program.layers), "nodes": 0, "undecided": 0}
        points = bound_margins(program, tight.solver, last, image.label, image.margins, deadline)
        left = [int(other) for other in np.argsort(image.margins) if image.margins[other] <= 0]
        witness = finder.near([points[other] for other in left if other in points], deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={**stats, "decided_by": "attack"})
        finished = True
        for place, other in enumerate(left):
            objective = program.margin(last, image.label, other)
            result = self._decide_class(tight, objective, finder, share(deadline, 1 / (len(left) - place)))
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
        self, tight: Tightened, objective: Objective, finder: WitnessFinder, deadline: Deadline
    ) -> Search:
        """Our own search, and a solver's search for a counterexample if that came to no end."""
        from verifiers.lp.tighten import share

        from .big_m import search_big_m
        from .phase_search import search_phases

        own = share(deadline, _OWN_SEARCH_SHARE)
        result = search_phases(tight.program, tight.solver, objective, finder.at, own)
        if result.finished or deadline.expired():
            return result
        claim = search_big_m(tight.program, objective, self.solver, deadline)
        if claim.point is None:
            return result
        return replace(result, witness=finder.at(claim.point[: tight.program.inputs.size]))
