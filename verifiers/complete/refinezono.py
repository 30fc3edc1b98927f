"""RefineZono: zonotope bounds, refined by linear and mixed-integer programs on a few neurons per layer.

Relaxed: ReLUs by the zonotope's parallel lines (DeepZ) to begin with; then, layer by layer, each unstable neuron is
bounded by two linear programs over the triangles of the layers below, and the few of a layer that come out nearest to
stable by a short branch and bound on the phases below, which can show that they are stable. Margins are decided by
linear programs and branch and bound on what is left (`phase_search`), so that the method is complete: chains of
affine layers and ReLU under l_inf with the box, and l1. Cost: linear programs as for `lp_full`, and some dozen nodes
for each neuron that is refined.

Singh, Gehr, Pueschel, Vechev: Boosting Robustness Certification of Neural Networks. ICLR 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.method import CompleteVerifier, MethodInfo

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem


class RefineZono(CompleteVerifier):
    """RefineZono."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="refinezono",
        title="RefineZono",
        kind="verifier",
        family="branch and bound",
        norms=("linf", "l1"),
        summary="Zonotope bounds refined layer by layer: linear programs for unstable neurons, branch and bound for "
        "a few of them; then branch and bound on the margins.",
        paper="Singh et al., Boosting Robustness Certification of Neural Networks, ICLR 2019",
        url="https://openreview.net/forum?id=HJgeEh09KQ",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        from .chain_decision import Recipe, decide_chain
        from .search.refine import refine

        return decide_chain(problem, Recipe("deepz", tighten=refine), deadline)
