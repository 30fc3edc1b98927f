"""Forward+Backward LiRPA: bounds of the layers by forward mode, margins by one backward pass.

Between CROWN-IBP (layers by intervals) and CROWN (layers by back-substitution): unstable ReLUs are relaxed to the
chord above and the adaptive line below, their input bounds come from `forward_lirpa`'s linear functions of the input.
Sound for every operation of the graph that has a relaxation, for l_inf, l2 and l1 balls; the input box is used. Of
each bound the better of this and intervals is kept (the paper has no intervals), so it is never below IBP's. Costs
as `forward_lirpa` and C - 1 backward rows.

Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, NeurIPS 2020 (appendix A.2).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class ForwardBackward(PlanMethod):
    """Forward mode for the layers, one backward pass for the margins."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="forward_backward",
        title="Forward+Backward LiRPA",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="Layers are bounded by linear functions carried forward, margins by one backward pass of CROWN.",
        paper="Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, NeurIPS 2020",
        url="https://arxiv.org/abs/2002.12920",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "forward_backward"
