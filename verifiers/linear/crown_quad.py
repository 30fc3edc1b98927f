"""CROWN-Quad: quadratic bounds of the last hidden layer.

A neuron that enters a margin with a positive weight is bounded from below by the parabola through its relaxation's
three corners, one with a negative weight from above by the chord; the margin is then at least a convex quadratic in
the values of the layer before (`verifiers.bounds.forward.quadratic`). With two layers that is the network's input, and
the minimum over the ball, box included, is found up to a gap of 1e-6 that is closed by tangents, not trusted. With
more, the paper takes the intervals of the activations before as constraints, and so does this: relations between those
are lost, and `crown` is often tighter. On two layers, too, the best straight lines, those of `alpha_crown`, are never
worse: on [l, u] every tangent of the parabola lies below a line through the origin with a slope in [0, 1].

Bounds of hidden layers are CROWN's. Sound for networks that end in affine operations on ReLUs on affine operations, for
l_inf, l2 and l1 balls. Of each margin the better of this and intervals is kept (the paper has no intervals). Costs
CROWN's bounds and up to `iterations` passes through one layer for all classes together.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018
(section 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.errors import InvalidInput
from sokbench.core.method import BoundingVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


@final
class CrownQuad(GraphMethod, BoundingVerifier):
    """A convex quadratic below every margin, minimised."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="crown_quad",
        title="CROWN-Quad",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="The last ReLUs between chords and parabolas, the convex quadratic minimised over the layer before.",
        paper="Zhang et al., Efficient Neural Network Robustness Certification with General Activations, NeurIPS 2018",
        url="https://arxiv.org/abs/1811.00866",
        tighter_than=("ibp",),
    )

    def __init__(self, iterations: int = 300) -> None:
        """iterations: the most steps towards a minimum."""
        if iterations < 0:
            raise InvalidInput(f"crown_quad needs iterations >= 0, not {iterations}")
        self.iterations = iterations

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

        from verifiers.bounds import run_plan
        from verifiers.bounds.forward.ending import last_nonlinear
        from verifiers.bounds.forward.projection import projection
        from verifiers.bounds.forward.quadratic import Quadratic
        from verifiers.bounds.plans import plan_of
        from verifiers.bounds.propagation import margins
        from verifiers.bounds.relaxations.relu import INTERVAL
        from verifiers.bounds.request import checked_inputs, checked_labels, full_margins
        from verifiers.graph import graph_of

        self.check_norm(ball)
        graph, plan = graph_of(network), plan_of("crown")
        with torch.no_grad():
            inputs, labels = checked_inputs(graph, x, ball), checked_labels(graph, x, labels)
            known, _, complete = run_plan(graph, inputs, plan, deadline)
            found = margins(known, labels, INTERVAL, plan.chunk_bytes)
            for sample, label in enumerate(labels.tolist() if last_nonlinear(graph) else []):
                if deadline.expired():
                    complete = False
                    break
                owner = slice(sample, sample + 1)
                intervals = [type(sides)(*(side[owner] for side in sides)) for sides in known.intervals]
                quadratic = Quadratic(graph, intervals, label)
                project = projection(x[owner].double().cpu(), ball, intervals[0])
                bounds = quadratic.minimise(inputs, owner, project, self.iterations, deadline)
                found[sample] = torch.fmax(found[sample], bounds)
            full = full_margins(found, labels, graph.num_classes)
            if not complete:
                raise OutOfTime(full)
            return full
