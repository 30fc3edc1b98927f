"""Bounded MILP: mixed-integer verification of ReLU networks after progressive bound tightening.

Encoded: the network exactly; each unstable ReLU with one binary for its phase and big-M constants from its own
pre-activation bounds, stable ones without. Complete for chains of affine layers (linear, convolution, average pool,
batch norm) and ReLU under l_inf with the box, and l1.

Decided, after a short attack, by branch and bound on the binaries. Bounds are tightened progressively, each step only
for what the one before left open: intervals and CROWN; then, per side of each unstable neuron, the linear program over
the layers below, solved in its dual by ascent on the slopes (alpha-CROWN: the same optimum within 1e-3, Salman et al.
2019, at a ninetieth of the simplex method's time on networks of 300 neurons). What the margins then leave open is
searched with linear programs (`phase_search`); where no end is in sight a neuron is split and the bounds of all layers
are tightened again in both halves (`refined_search`, `state_programs`). The last quarter of the time goes to a
mixed-integer solver on the big-M program (`big_m`), which looks for a counterexample in its own way.

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

from typing import TYPE_CHECKING, ClassVar, Literal

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem
    from verifiers.graph.rewriting.affine import AffineLayer

    from .split_decision import Question
    from .witness import WitnessFinder

_OWN_SHARE = 0.75


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

        from verifiers.lp.chain import chain_of

        from .search.state_programs import StatePrograms
        from .split_decision import Question, decide_states, question
        from .witness import WitnessFinder

        layers = chain_of(problem.network)
        finder = WitnessFinder(problem, layers)
        others = [other for other in range(problem.network.num_classes) if other != problem.label]
        with torch.no_grad():
            asked = question(problem, deadline)
            if not isinstance(asked, Question):
                return asked

            def programs(kept: dict[int, Tensor]) -> StatePrograms:
                return StatePrograms(layers, asked.inputs, asked.relaxed, kept, problem.label, others, finder.at)

            outcome = decide_states(asked, programs, "gap", deadline.share(_OWN_SHARE))
        if outcome.termination is not Termination.TIMEOUT:
            return outcome
        open_classes = [other for other, bound in zip(others, asked.bounds.tolist(), strict=True) if bound <= 0]
        witness = self._solver_witness(layers, asked, problem.label, open_classes, finder, deadline)
        if witness is None:
            return outcome
        return Outcome(Verdict.FALSIFIED, witness=witness, stats={**outcome.stats, "decided_by": "solver"})

    def _solver_witness(
        self,
        layers: list[AffineLayer],
        asked: Question,
        label: int,
        others: list[int],
        finder: WitnessFinder,
        deadline: Deadline,
    ) -> Tensor | None:
        """A counterexample that the mixed-integer solver finds, in equal shares of the time for the open classes."""
        from verifiers.lp.chain import intervals_of
        from verifiers.lp.tighten import relax

        from .search.big_m import search_witness

        program = relax(layers, asked.inputs, intervals_of(asked.relaxed)).program
        for place, other in enumerate(others):
            if deadline.expired():
                return None
            objective, share = program.margin(layers[-1], label, other), deadline.share(1 / (len(others) - place))
            witness = search_witness(program, objective, self.solver, finder.at, share)
            if witness is not None:
                return witness
        return None
