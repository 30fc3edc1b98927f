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

from typing import TYPE_CHECKING, ClassVar, Literal

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem


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
        from verifiers.lp.tighten import tighten

        from .chain_decision import Recipe, decide_chain

        return decide_chain(problem, Recipe("crown", tighten, self.solver), deadline)
