"""hBox: symbolic intervals, that is linear functions of the input wherever ReLUs are stable, constants elsewhere.

An unstable ReLU on [l, u] lies in [0, u], whatever its input; stable ReLUs and affine layers are exact, and every
layer is bounded by back-substitution to the input. The name is that of Jovanovic et al. (2022), for whom it is an
instance of a hybrid zonotope (Mirman et al., 2018). Theorem 2 there: it certifies all that intervals (Box) do; here
of each bound the better of the two is kept anyway. Activations other than ReLU are relaxed as by `crown`. Sound for
every operation of the graph that has a relaxation, for all l_p and l0 balls (the papers have boxes only); the input
box is used. Equal to `ai2_zonotope` on ReLU networks. Costs half of CROWN: both sides of a bound share their rows.

Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018; Jovanovic et
al., On the Paradox of Certified Training, TMLR 2022 (section 2).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class HBox(PlanMethod):
    """Symbolic intervals by back-substitution."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="hbox",
        title="hBox",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1", "l0"),
        summary="Stable ReLUs exact, unstable ones as intervals; every layer bounded by back-substitution.",
        paper="Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018",
        url="https://www.usenix.org/conference/usenixsecurity18/presentation/wang-shiqi",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "hbox"
