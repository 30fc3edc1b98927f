"""AI2 as the SoK ran it: abstract interpretation with DeepPoly bounds, and a complete mixed-integer program behind.

Relaxed: first everything by DeepPoly; where that leaves a class open, the network is encoded exactly with DeepPoly's
pre-activation bounds as big-M constants, without further tightening. Branch and bound decides the program with every
leaf certified (`phase_search`), and a mixed-integer solver looks for a counterexample where time presses. Complete for
chains of affine layers and ReLU under l_inf with the box, and l1. Cost: as `milp`, with a looser relaxation in every
node. The zonotope that the AI2 paper itself uses is the method `ai2_zonotope`.

Gehr et al., AI2, S&P 2018; Singh et al., An Abstract Domain for Certifying Neural Networks, POPL 2019; Li et al., SoK:
Certified Robustness for Deep Neural Networks, S&P 2023 (section VI: which tool ran under which name).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.method import CompleteVerifier, MethodInfo

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem


class AI2(CompleteVerifier):
    """AI2 (DeepPoly and MILP)."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="ai2",
        title="AI2 (DeepPoly and MILP)",
        kind="verifier",
        family="mixed-integer programming",
        norms=("linf", "l1"),
        summary="DeepPoly bounds of every layer; what they leave open is decided by mixed-integer branch and bound.",
        paper="Gehr et al., AI2: Safety and Robustness Certification of Neural Networks with Abstract Interpretation, "
        "S&P 2018",
        url="https://doi.org/10.1109/SP.2018.00058",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        from .chain_decision import Recipe, decide_chain

        return decide_chain(problem, Recipe("deeppoly", solver="auto"), deadline)
