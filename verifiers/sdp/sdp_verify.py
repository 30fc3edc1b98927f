"""SDP-Verify: the semidefinite relaxation of Raghunathan et al., with stable neurons eliminated, in its dual form.

Relaxed: the products of v = (1, inputs, outputs of unstable ReLUs) by a positive semidefinite matrix; z (z - p) = 0,
z >= p, z >= 0, the box of the inputs and of the outputs, and the chord z <= s p + t are kept. Stable ReLUs are exact.
Sound for chains of affine layers (linear, convolution, average pool, batch norm) and ReLU under l_inf, box included.

Solved: per class by an interior-point method that knows the structure (`interior_point`): what it factorises has
1 + curved neurons, not 1 + inputs + unstable. With more than 200 unstable neurons those where the linear program pays
most for the chord are curved, the others keep the triangle. Without a limit every class is solved to a thousandth of
its gap. With one, the class whose bound is least is always worked on, so that the least margin rises as fast as it
can, and it is left once no more than its bound itself could be gained.

Every bound is certified from the multipliers by our own arithmetic (`certificate`); the linear program's safe bound
(`verifiers.lp`) is the floor. A limit that passes gives the best bounds so far.

Cost: 15 to 20 steps of O((inputs + unstable)^3) per class. With 784 inputs, on one core: 1.3 s a class for 20 unstable
neurons, 3 s for 100, 4.5 s for 150, 40 s for 1,670. Memory: two matrices of that size per class.

A. Raghunathan, J. Steinhardt, P. Liang: Semidefinite relaxations for certifying robustness to adversarial examples.
NeurIPS 2018.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from sokbench.core.method import BoundingVerifier, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball
    from verifiers.lp.chain import Instance


_MOST_VARIABLES = 3000


class SDPVerify(BoundingVerifier):
    """The dual semidefinite relaxation with certified bounds."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="sdp_verify",
        title="SDP-Verify",
        kind="verifier",
        family="semidefinite programming",
        norms=("linf",),
        summary="Semidefinite relaxation of the products of inputs and unstable ReLUs, dual form; bounds certified by "
        "a proved lower bound on the least eigenvalue.",
        paper="Raghunathan et al., NeurIPS 2018",
        url="https://arxiv.org/abs/1811.01057",
        tighter_than=("crown", "fastlin", "deeppoly", "ibp", "crown_ibp"),
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        from verifiers.lp.chain import improved, instances

        self.check_norm(ball)
        return improved(instances(network, x, labels, ball, deadline), _improve, deadline)


def _improve(image: Instance, deadline: Deadline) -> bool:
    """Raise the margins of `image` in place, the least one first; False if the deadline cut the work short."""
    from .ascent import ClassAscent, linear_start
    from .forms import eliminate_stable

    unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in image.intervals)
    if unstable and image.inputs.size + unstable > _MOST_VARIABLES:
        raise Unsupported(
            f"{image.inputs.size} inputs and {unstable} unstable neurons: the dense semidefinite program takes at most "
            f"{_MOST_VARIABLES} together"
        )
    start = linear_start(image, deadline)
    if deadline.expired() or not unstable:
        return not deadline.expired()
    forms = eliminate_stable(image.layers, image.inputs, image.intervals, image.label)
    hurried = math.isfinite(deadline.at)
    ascents = {
        target: ClassAscent(forms, target, multipliers, float(image.margins[target]), hurried)
        for target, multipliers in start.items()
    }
    while True:
        left = ascents if hurried else {target: ascent for target, ascent in ascents.items() if not ascent.finished}
        if not left:
            return True
        target = min(left, key=lambda other: image.margins[other])
        ascent = left[target]
        if ascent.finished:
            return True
        # a step cannot be interrupted, so none is begun that would not end in time
        if deadline.remaining() < 1.2 * ascent.step_seconds():
            return False
        image.margins[target] = max(image.margins[target], ascent.advance())
