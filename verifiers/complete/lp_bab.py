"""Branch and bound on ReLU phases with one warm linear program: no binaries, no big-M.

Relaxed: every unstable ReLU by its triangle; a split fixes a phase, which only changes bounds of columns and rows, so
that the dual simplex method goes on from the last basis. Bounds come from CROWN and, for each unstable neuron, from
the linear programs over the layers below, solved in their dual by ascent (alpha-CROWN). Complete for chains of affine
layers and ReLU under l_inf with the box, and l1. Every closed node is proved by duals or a Farkas certificate that our
own arithmetic checked (`phase_search`); counterexamples are judged in float64. Cost: one warm linear program per node,
exponentially many at worst; memory: one linear program and the list of open nodes.

Bunel et al., Branch and Bound for Piecewise Linear Neural Network Verification, JMLR 2020; Ehlers, ATVA 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.method import CompleteVerifier, MethodInfo

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem


class LPBaB(CompleteVerifier):
    """LP branch and bound."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="lp_bab",
        title="LP branch and bound",
        kind="verifier",
        family="branch and bound",
        norms=("linf", "l1"),
        summary="Triangle relaxation as one warm linear program; neurons bounded by dual ascent, then "
        "branch and bound on ReLU phases with every leaf certified.",
        paper="Bunel et al., Branch and Bound for Piecewise Linear Neural Network Verification, JMLR 2020",
        url="https://arxiv.org/abs/1909.06588",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        from .chain_decision import Recipe, decide_chain

        return decide_chain(problem, Recipe("crown", ascent=True), deadline)
