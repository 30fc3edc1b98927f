"""LP-Full: the triangle relaxation solved as linear programs, for every unstable neuron and then for every margin.

Relaxed: each unstable ReLU by the triangle between its pre-activation bounds; those bounds come from linear programs
over the layers before it (starting from CROWN's), so they are the best that the triangle relaxation has ("LP-All" of
Salman et al.). Stable ReLUs are exact. Sound for chains of affine layers (linear, convolution, average pool, batch
norm) and ReLU under l_inf, box included exactly, and under l1.

Every bound is a safe dual bound (`safe_bound`): HiGHS provides multipliers, its objective is never used. The program
contains the real network despite rounding (`program`).

Cost: two warm linear programs per unstable neuron, one per class; polynomial, but seconds from some hundred unstable
neurons on. With a limit, tightening may take 70% of what is left and the margins are then bounded with what it has;
a limit that passes gives the better of CROWN and what was proved.

H. Salman, G. Yang, H. Zhang, C.-J. Hsieh, P. Zhang: A Convex Relaxation Barrier to Tight Robustness Verification of
Neural Networks. NeurIPS 2019 (Sec. 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sokbench.core.deadline import Deadline
from sokbench.core.method import BoundingVerifier, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball

    from .chain import Instance

_TIGHTENING_SHARE = 0.7


class LPFull(BoundingVerifier):
    """Layerwise linear programs on the triangle relaxation."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="lp_full",
        title="LP-Full",
        kind="verifier",
        family="linear programming",
        norms=("linf", "l1"),
        summary="Triangle relaxation of ReLU; a linear program for each unstable neuron, layer by layer, then for each "
        "class; bounds from dual multipliers in our own arithmetic.",
        paper="Salman et al., NeurIPS 2019",
        url="https://arxiv.org/abs/1902.08722",
        tighter_than=("crown", "fastlin", "deeppoly", "ibp", "crown_ibp"),
    )

    def prepare(self, network: Network) -> None:
        from .chain import chain_of

        chain_of(network)

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        from .chain import improved, instances

        return improved(instances(network, x, labels, ball, deadline), _improve, deadline)


def _improve(image: Instance, deadline: Deadline) -> bool:
    """Raise the margins of `image` in place; False if the deadline cut the work short."""
    from .margins import bound_margins
    from .tighten import tighten

    tight = tighten(image.layers, image.inputs, image.intervals, deadline.share(_TIGHTENING_SHARE))
    # the least margin first: it is the one that counts if time runs out
    others = [int(other) for other in np.argsort(image.margins) if other != image.label]
    bound_margins(tight.program, tight.solver, image.layers[-1], image.label, image.margins, others, deadline)
    return tight.finished and not deadline.expired()
