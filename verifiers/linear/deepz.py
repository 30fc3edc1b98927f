"""DeepZ: zonotopes carried forward through the network.

A value is a centre plus a sum of noise symbols in [-1, 1], one per input coordinate and one per relaxed neuron. Affine
layers and differences of classes are exact. An unstable ReLU on [l, u] becomes the parallelogram of least area around
it, between s z and s (z - l), s = u / (u - l); a fresh symbol picks the place between the two. Other activations are
relaxed to lines of equal slope (the paper has its own for sigmoid and tanh). Computes forward what Fast-Lin computes
backward and Wong and Kolter by duality, to the last digits (a test says so). The domain abstracts boxes,
hence l_inf only; the input box is used. Of each bound the better of zonotopes and intervals is kept, so it is never
below IBP's. Costs one forward pass per input coordinate and unstable neuron, and memory for as many copies of a layer.

Singh et al., Fast and Effective Robustness Certification, NeurIPS 2018 (Theorem 3.1).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class DeepZ(PlanMethod):
    """The DeepZ domain."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="deepz",
        title="DeepZ",
        kind="verifier",
        family="linear relaxation",
        norms=("linf",),
        summary="Zonotopes: affine layers are exact, each unstable ReLU becomes a parallelogram with a noise symbol.",
        paper="Singh et al., Fast and Effective Robustness Certification, NeurIPS 2018",
        url="https://papers.nips.cc/paper/2018/hash/f2f446980d8e971ef3da97af089481c3-Abstract.html",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "deepz"
