"""AI2 with zonotopes: affine layers exact, ReLUs by case split and join.

The ReLU of neuron i is (Z meet z_i >= 0) join (Z meet z_i < 0 with z_i := 0). A meet with a half-space narrows the
ranges of the noise symbols (Ghorbal et al., 2010) and leaves all forms as they are; the join widens the ranges again,
since every point lies in one of the cases, keeps the forms on which both cases agree, that is all but z_i's, and gives
z_i the largest part both forms share: of a form and of 0 that is nothing, so z_i becomes a fresh symbol over the hull
[0, u] of its two ranges. That is what the Taylor1+ domain, which the paper uses, computes, and what is done here in one
step per layer. It equals `hbox` on ReLU networks (a test says so), computed forward instead of backward, and is not
comparable with DeepZ neuron by neuron. The bounded powersets of the paper, which split without joining, are not
included; the SoK toolbox runs a complete method (DeepPoly and MILP) under the name AI2. Other activations as in
`deepz`. The domain abstracts boxes, hence l_inf only; the input box is used. Of each bound the better of zonotopes and
intervals is kept, so it is never below IBP's. Costs as DeepZ.

Gehr et al., AI2: Safety and Robustness Certification of Neural Networks with Abstract Interpretation, S&P 2018.
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class Ai2Zonotope(PlanMethod):
    """The zonotope domain of AI2."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="ai2_zonotope",
        title="AI2 (zonotope)",
        kind="verifier",
        family="linear relaxation",
        norms=("linf",),
        summary="Zonotopes: affine layers are exact, an unstable ReLU is split into its two cases and joined again.",
        paper="Gehr et al., AI2: Safety and Robustness Certification with Abstract Interpretation, IEEE S&P 2018",
        url="https://doi.org/10.1109/SP.2018.00058",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "ai2_zonotope"
