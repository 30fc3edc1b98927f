"""CROWN-IBP: interval bounds of the hidden layers, one backward pass of CROWN for the margins.

Unstable ReLUs are relaxed to the chord above and the adaptive line below, other functions as by `crown`. Sound for
every operation of the graph that has a relaxation, for l_inf, l2, l1 and l0 balls cut with the input box. The published
margin is the better of this and the interval bound, so it is never below IBP's. Costs an interval pass and C - 1
backward rows per input.

Zhang et al., Towards Stable and Efficient Training of Verifiably Robust Neural Networks, ICLR 2020.
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class CrownIbp(PlanMethod):
    """CROWN for the margins on interval bounds of the layers before."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="crown_ibp",
        title="CROWN-IBP",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1", "l0"),
        summary="Intermediate bounds by intervals, margins by one backward pass of CROWN.",
        paper="Zhang et al., Towards Stable and Efficient Training of Verifiably Robust Neural Networks, ICLR 2020",
        url="https://arxiv.org/abs/1906.06316",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "crown_ibp"
