"""CNN-Cert: linear bounds of every layer of a convolutional network by back-substitution.

The relaxation is CROWN's: the chord above an unstable ReLU, below it the line z or 0 that leaves the smaller area
("CNN-Cert-Ada", which the SoK benchmark runs; with parallel lines it is Fast-Lin). What was new is that coefficients
are pulled through convolutions, batch norms, average pools and residual blocks by convolutions instead of unrolled
matrices. The engine does that for every method, so here the bounds equal those of `crown` (a test says so), and it is
no separate implementation. Two differences to the paper: it has no input box and keeps no interval bounds, and it
bounds a max pool by one plane over its window where the engine has a tree of maxima of two. Sound for every operation
of the graph that has a relaxation, for l_inf, l2 and l1 balls. Costs as CROWN.

Boopathy et al., CNN-Cert: An Efficient Framework for Certifying Robustness of Convolutional Neural Networks, AAAI 2019
(section 3).
"""

from __future__ import annotations

from typing import ClassVar, final

from sokbench.core.method import MethodInfo

from .plan_method import PlanMethod


@final
class CnnCert(PlanMethod):
    """CNN-Cert with adaptive ReLU lines."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="cnn_cert",
        title="CNN-Cert",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="CROWN's linear bounds pulled through convolutions, pools and residual blocks as such.",
        paper="Boopathy et al., CNN-Cert: An Efficient Framework for Certifying Robustness of CNNs, AAAI 2019",
        url="https://arxiv.org/abs/1811.12395",
        tighter_than=("ibp",),
    )
    plan: ClassVar[str] = "cnn_cert"
