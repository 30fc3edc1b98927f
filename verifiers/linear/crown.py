"""CROWN: linear bounds of every layer by back-substitution to the input.

An unstable ReLU on [l, u] lies between its chord u (z - l) / (u - l) and the line z (where u >= -l) or 0 (elsewhere);
other functions lie between tangents and chords, products and maxima of two between planes. Sound for every operation of
the graph that has a relaxation, for l_inf, l2 and l1 balls; the input box is used. Of each bound the better of
back-substitution and intervals is kept, so it is never below IBP's. `deeppoly` and `cnn_cert` compute the same. Costs
one backward row per unstable neuron and side, each through all layers before it: quadratic in depth.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018
(Theorem 3.2, section 3.2).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class Crown(PlanMethod):
    """CROWN with adaptive ReLU lines."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="crown",
        title="CROWN",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="ReLUs between two lines, the lower one chosen by area; every layer bounded by back-substitution.",
        paper="Zhang et al., Efficient Neural Network Robustness Certification with General Activations, NeurIPS 2018",
        url="https://arxiv.org/abs/1811.00866",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "crown"
