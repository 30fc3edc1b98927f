"""Forward mode LiRPA: every value of the network between two linear functions of the input, carried forward.

Unstable ReLUs are relaxed to the chord above and the adaptive line below. The two functions of a neuron are combined
with the signs of the next layer's weights, which forgets that neurons share their lower and upper lines: looser than
back-substitution (`crown`). Sound for every operation of the graph that has a relaxation, for l_inf, l2 and l1 balls;
the input box is used. Of each bound the better of this and intervals is kept (the paper has no intervals), so it is
never below IBP's. Costs two forward passes per input coordinate, whatever the width and the number of classes, and
memory for as many copies of the widest layer: good for few inputs, bad for images.

Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, NeurIPS 2020 (appendix A).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class ForwardLirpa(PlanMethod):
    """Linear bounds carried from the input to the logits."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="forward_lirpa",
        title="Forward LiRPA",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="Every value is bounded by two linear functions of the input, carried forward layer by layer.",
        paper="Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, NeurIPS 2020",
        url="https://arxiv.org/abs/2002.12920",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "forward_lirpa"
