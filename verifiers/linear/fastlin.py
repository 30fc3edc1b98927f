"""Fast-Lin: linear bounds of every layer with parallel lines around each ReLU.

An unstable ReLU on [l, u] lies between s z and s (z - l), s = u / (u - l). Both sides of a bound share one row, which
halves the cost of CROWN. The paper is on ReLU networks; other activations get lines of equal slope as well. Sound for
every operation of the graph that has a relaxation, for all l_p and l0 balls; the input box is used (the paper has no
box). Of each bound the better of back-substitution and intervals is kept (the paper has no intervals), so it is never
below IBP's. On ReLU networks `deepz` computes the same numbers forward and `wk` by duality.

Weng et al., Towards Fast Computation of Certified Robustness for ReLU Networks, ICML 2018.
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class FastLin(PlanMethod):
    """Fast-Lin with parallel ReLU lines."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="fastlin",
        title="Fast-Lin",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1", "l0"),
        summary="ReLUs between parallel lines of slope u / (u - l); every layer bounded by back-substitution.",
        paper="Weng et al., Towards Fast Computation of Certified Robustness for ReLU Networks, ICML 2018",
        url="https://arxiv.org/abs/1804.09699",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "fastlin"
