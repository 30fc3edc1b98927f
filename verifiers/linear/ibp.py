"""Interval bound propagation.

Each layer is relaxed to a box: affine maps by centre and radius, ReLU exactly. The rows f_y - f_j are multiplied into
the last affine layer first ("elision of the last layer"). Sound for every operation of the graph; for l2, l1 and l0
balls the first affine layer uses the dual norm of its rows (of the l1 ball around an l0 ball), the better of that and
the ball's box hull. Costs two forward passes. Bounds hold in real arithmetic (see `verifiers.bounds.rounding`).

Gowal et al., Scalable Verified Training for Provably Robust Image Classification, ICCV 2019.
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class Ibp(PlanMethod):
    """Interval bound propagation."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="ibp",
        title="IBP",
        kind="verifier",
        family="interval",
        norms=("linf", "l2", "l1", "l0"),
        summary="Each layer maps a box to a box; the last one is fused with the differences of classes.",
        paper="Gowal et al., Scalable Verified Training for Provably Robust Image Classification, ICCV 2019",
        url="https://arxiv.org/abs/1810.12715",
    )
    plan: ClassVar[str] = "ibp"
