"""FROWN (Fastened CROWN): CROWN with the lower lines chosen by gradient ascent, layer after layer.

Relaxed as in CROWN: an unstable ReLU lies between its chord and a line alpha z with alpha in [0, 1]. The slopes of all
layers below are raised, by Adam as in the paper, for the mean of the lower bounds of a group of neurons of a layer, and
once more for their upper bounds; with these bounds the next layer is done in the same way, and in the end each margin
has slopes of its own. What `alpha_crown` does for every row is here shared by groups ("batchwise" in the authors'
code, 64 neurons; groups of 1 are their "neuronwise"). The tangents of smooth activations are moved in the same way.
Sound for all networks that CROWN is sound for, for l_inf, l2 and l1 balls, box included: any slope in [0, 1] and any
tangent is sound, and those found in float32 are used for a bound computed in float64 and rounded outward. Never below
CROWN's bounds, because both are computed. Costs `iterations` times two passes per unstable neuron and side.

Lyu et al., Fastened CROWN: Tightened Neural Network Robustness Certificates, AAAI 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from sokbench.core.deadline import Deadline
from sokbench.core.errors import InvalidInput
from sokbench.core.method import BoundingVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from sokbench.core.problem import Ball


@final
class Frown(GraphMethod, BoundingVerifier):
    """CROWN with lower slopes optimised for groups of neurons."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="frown",
        title="FROWN",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="CROWN with the lower lines chosen by gradient ascent, shared by groups of neurons of a layer.",
        paper="Lyu et al., Fastened CROWN: Tightened Neural Network Robustness Certificates, AAAI 2020",
        url="https://arxiv.org/abs/1912.00574",
        tighter_than=("crown", "ibp"),
    )

    def __init__(self, iterations: int = 20, rate: float = 0.1, group: int = 64) -> None:
        """iterations: passes per group, the first with CROWN's slopes; rate: first step of a slope; group: neurons
        that share slopes."""
        if iterations < 1 or not rate > 0 or group < 1:
            raise InvalidInput(f"frown needs iterations, group >= 1 and rate > 0, not {iterations}, {group} and {rate}")
        self.iterations, self.rate, self.group = iterations, rate, group

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins`."""
        from verifiers.bounds.optimized.ascent import Schedule
        from verifiers.bounds.optimized.margins import optimized_margins
        from verifiers.bounds.optimized.relaxed import Relaxed
        from verifiers.bounds.optimized.shared_slopes import raise_layers
        from verifiers.graph import graph_of

        self.check_norm(ball)

        def by_groups(state: Relaxed, schedule: Schedule, deadline: Deadline) -> None:
            raise_layers(state, self.group, schedule, deadline)

        schedule = Schedule(self.iterations, self.rate)
        return optimized_margins(graph_of(network), x, labels, ball, schedule, deadline, by_groups)
