"""CROWN with lower slope 0: linear bounds of every layer by back-substitution to the input.

An unstable ReLU on [l, u] lies between its chord u (z - l) / (u - l) and the line 0. One fixed choice of the lower
slope, of those that CROWN allows; where most neurons are more off than on (as after robust training) it is close to
the adaptive one. Other activations are relaxed as by `crown`. Sound for every operation of the graph that has a
relaxation, for l_inf, l2, l1 and l0 balls; the input box is used. Of each bound the better of back-substitution and
intervals is kept, so it is never below IBP's. Costs as CROWN.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018
(Definition 3.1: any lower line; "zero-lb" in auto_LiRPA).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class CrownZero(PlanMethod):
    """CROWN with the lower line 0."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="crown_zero",
        title="CROWN-zero",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1", "l0"),
        summary="CROWN with the line 0 below every unstable ReLU; every layer bounded by back-substitution.",
        paper="Zhang et al., Efficient Neural Network Robustness Certification with General Activations, NeurIPS 2018",
        url="https://arxiv.org/abs/1811.00866",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "crown_zero"
