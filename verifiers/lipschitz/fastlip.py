"""Fast-Lip: a local Lipschitz constant of every margin, from bounds of the Jacobian carried forward.

Bounds of the inputs of activations on the ball (Fast-Lin's) say which are on, off or undecided. The Jacobian of each
layer with respect to the input is bounded entry by entry, layer after layer: affine layers by interval arithmetic,
decided ReLUs exactly, undecided ones multiply by [0, 1]. The rows f_y - f_j are fused with the last layer, and
f_y - f_j >= (f_y - f_j)(x) - sum_k |d_k| radius (l_inf; the dual norm otherwise). Sound for affine layers, sums and
ReLUs, and likewise for leaky ReLU, sigmoid, tanh and arctan with the range of their slope; for l_inf, l2 and l1 balls.
The input box cuts how far each coordinate can move (the paper has no box). Looser than Fast-Lin on most networks.
Costs, per input, Fast-Lin's bounds and two forward passes per input coordinate.

Weng et al., Towards Fast Computation of Certified Robustness for ReLU Networks, ICML 2018 (section 3.4, algorithm 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.deadline import Deadline
from sokbench.core.method import BoundingVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


@final
class FastLip(GraphMethod, BoundingVerifier):
    """Margins at the input minus local Lipschitz constants times the radius."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="fastlip",
        title="Fast-Lip",
        kind="verifier",
        family="Lipschitz",
        norms=("linf", "l2", "l1"),
        summary="A local Lipschitz constant per margin: interval bounds of the Jacobian, carried forward.",
        paper="Weng et al., Towards Fast Computation of Certified Robustness for ReLU Networks, ICML 2018",
        url="https://arxiv.org/abs/1804.09699",
    )

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins`."""
        from .interval_jacobian import gradient_bounds
        from .jacobian import jacobian_margins

        self.check_norm(ball)
        return jacobian_margins(network, x, labels, ball, "fastlin", gradient_bounds, deadline)
