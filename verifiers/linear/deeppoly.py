"""DeepPoly: one polyhedral lower and upper constraint per neuron, concretized by back-substitution to the input box.

For ReLU networks it computes what CROWN computes; the two differ where u = -l, where DeepPoly takes the lower line 0
and CROWN the line z. The domain abstracts boxes, hence l_inf only. Of each bound the better of back-substitution and
intervals is kept, as in the paper's concrete bounds, so it is never below IBP's. Costs as CROWN.

Singh et al., An Abstract Domain for Certifying Neural Networks, POPL 2019.
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class DeepPoly(PlanMethod):
    """The DeepPoly domain."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="deeppoly",
        title="DeepPoly",
        kind="verifier",
        family="linear relaxation",
        norms=("linf",),
        summary="Polyhedral bounds by back-substitution with the ReLU triangle of smaller area.",
        paper="Singh et al., An Abstract Domain for Certifying Neural Networks, POPL 2019",
        url="https://doi.org/10.1145/3290354",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "deeppoly"
