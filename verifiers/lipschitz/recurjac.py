"""RecurJac: local Lipschitz constants of the margins from recursive bounds of the Jacobian.

The derivatives Y of a margin with respect to the outputs of each activation layer are bounded from the last layer to
the input. Wherever the sign of such a derivative is known, the slope of its neuron is set to the end of its range that
makes the bound hold, and the derivative itself is written out one layer further, instead of replaced by its interval:
so cancellations between layers count that interval arithmetic (Fast-Lip) loses. Bounds of the inputs of activations are
CROWN's. Then f_y - f_j >= (f_y - f_j)(x) - sum_k |d_k| radius (l_inf; the dual norm otherwise). Sound for chains of
affine layers with ReLU, leaky ReLU, sigmoid, tanh or arctan between them; for l_inf, l2 and l1 balls. The input box
cuts how far each coordinate can move (the paper has no box). Costs, per input and class, two forward passes from
every layer on per undecided neuron of it, and per input coordinate: much more than Fast-Lip.

Zhang et al., RecurJac: An Efficient Recursive Algorithm for Bounding Jacobian Matrix of Neural Networks and Its
Applications, AAAI 2019 (section 3).
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
class RecurJac(GraphMethod, BoundingVerifier):
    """Margins at the input minus local Lipschitz constants times the radius."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="recurjac",
        title="RecurJac",
        kind="verifier",
        family="Lipschitz",
        norms=("linf", "l2", "l1"),
        summary="A local Lipschitz constant per margin: bounds of the Jacobian, recursively where signs are known.",
        paper="Zhang et al., RecurJac: An Efficient Recursive Algorithm for Bounding Jacobian Matrices, AAAI 2019",
        url="https://arxiv.org/abs/1810.11783",
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
        from .jacobian import jacobian_margins
        from .recursive_jacobian import gradient_bounds

        self.check_norm(ball)
        return jacobian_margins(network, x, labels, ball, "crown", gradient_bounds, deadline)
