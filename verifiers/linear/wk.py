"""Wong and Kolter's dual bounds: the linear program over ReLU triangles, bounded by its dual network.

Every bound is the objective of one feasible dual point, found by a backward pass through a network of the same shape
whose unstable ReLUs are leaky with slope u / (u - l) (`verifiers.bounds.dual`). Layer after layer the inputs of
unstable ReLUs are bounded so, then the margins. The same number as Fast-Lin's and DeepZ's, by another computation (a
test says so); the free dual variables of the paper are set to that slope, its default. Sound for ReLU networks of
affine layers and residual sums, for l_inf, l2 and l1 balls by their dual norms; the input box is used (the paper has
none). Of each bound the better of the dual's and intervals is kept (the paper has no intervals), so it is never below
IBP's. Costs two backward passes per unstable neuron; the random projections of the second paper are not used.

Wong and Kolter, Provable Defenses against Adversarial Examples via the Convex Outer Adversarial Polytope, ICML 2018
(theorem 1, algorithm 1); residual networks as in Wong et al., Scaling Provable Adversarial Defenses, NeurIPS 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.method import BoundingVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


@final
class WongKolter(GraphMethod, BoundingVerifier):
    """Bounds from the dual network."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="wk",
        title="WK",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="The linear program over ReLU triangles, bounded by a feasible point of its dual.",
        paper="Wong and Kolter, Provable Defenses via the Convex Outer Adversarial Polytope, ICML 2018",
        url="https://arxiv.org/abs/1711.00851",
        tighter_than=("ibp",),
    )

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins`; what the deadline leaves undone is bounded by intervals."""
        import torch

        from verifiers.bounds.dual import dual_bounds, dual_margins
        from verifiers.bounds.plans import PLANS
        from verifiers.bounds.propagation import margins
        from verifiers.bounds.relaxations.relu import INTERVAL
        from verifiers.bounds.request import checked_inputs, checked_labels, full_margins
        from verifiers.graph import graph_of

        self.check_norm(ball)
        graph = graph_of(network)
        with torch.no_grad():
            inputs, labels = checked_inputs(graph, x, ball), checked_labels(graph, x, labels)
            bounds, complete = dual_bounds(graph, inputs, deadline)
            found = margins(bounds, labels, INTERVAL, PLANS["ibp"].chunk_bytes)
            if not complete:
                raise OutOfTime(full_margins(found, labels, graph.num_classes))
            found = torch.fmax(found, dual_margins(bounds, labels))
            return full_margins(found, labels, graph.num_classes)
