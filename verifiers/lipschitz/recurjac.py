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
from sokbench.core.errors import Unsupported
from sokbench.core.method import BoundingVerifier, MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


@final
class RecurJac(BoundingVerifier):
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

    def prepare(self, network: Network) -> None:
        """Trace the network's graph and compute the constants that bounding needs."""
        from verifiers.bounds import prepare

        prepare(network)

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins`."""
        import torch

        from verifiers.bounds.request import checked_labels
        from verifiers.graph import graph_of

        from .jacobian import activation_intervals, margins_from_gradients
        from .recursive_jacobian import gradient_bounds

        if ball.norm not in self.info.norms:
            raise Unsupported(f"recurjac handles the norms {', '.join(self.info.norms)}, not {ball.norm}")
        graph = graph_of(network)
        with torch.no_grad():
            labels = checked_labels(graph, x, labels)
            intervals = activation_intervals(graph, x, ball, "crown", deadline)
            low, high = gradient_bounds(graph, intervals, labels, deadline)
            return margins_from_gradients(graph, x, labels, ball, low, high, deadline)
