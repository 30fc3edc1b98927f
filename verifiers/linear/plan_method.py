"""What the methods that only differ in their plan share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.deadline import Deadline
from sokbench.core.method import BoundingVerifier

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


class PlanMethod(BoundingVerifier):
    """A bounding verifier that runs one of `verifiers.bounds.plans`."""

    plan: ClassVar[str]

    @final
    def prepare(self, network: Network) -> None:
        """Trace the network's graph and compute the constants that bounding needs, where it will run."""
        from verifiers.bounds import prepare

        prepare(network, self.plan)

    @final
    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins` and `verifiers.bounds.margin_bounds`; norms outside `info.norms` raise
        `Unsupported`."""
        from verifiers.bounds import margin_bounds
        from verifiers.bounds.plans import plan_of
        from verifiers.bounds.request import bounding_graph

        self.check_norm(ball)
        graph = bounding_graph(network, plan_of(self.plan))
        return margin_bounds(graph, x, labels, ball, self.plan, deadline).to(x.device)
