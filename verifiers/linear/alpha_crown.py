"""alpha-CROWN: CROWN with the free choice in every relaxation optimised, for every bound on its own.

Relaxed as in CROWN: an unstable ReLU on [l, u] lies between its chord and a line alpha z. Here alpha in [0, 1] is free
for each neuron and each bounded row, rows of intermediate layers included, and found by projected ascent (Adam) with
gradients that need no tape (`verifiers.bounds.optimized`). With fixed intermediate bounds the best alpha reaches the
optimum of the triangle linear program (Salman et al., 2019). Smooth activations are relaxed by tangents that touch
where ascent leads them, below and above; leaky ReLUs, absolute values, clamps and maxima are written as ReLUs; products
keep CROWN's planes. Sound for all networks that CROWN is sound for, for l_inf, l2 and l1 balls, box included:
any choice is, and the one found in float32 is used for a bound computed in float64 and rounded outward. Never below
CROWN's bounds, because both are computed. Bounds are raised layer by layer, each with those below it done: that reaches
what raising all of them together for the margins can reach, since a tighter bound below never hurts one above.

Cost: `iterations` times two passes (back to the input and forward again) per unstable neuron and side.

Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid and Massively Parallel
Incomplete Verifiers, ICLR 2021.
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
class AlphaCrown(GraphMethod, BoundingVerifier):
    """CROWN with optimised lower slopes."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="alpha_crown",
        title="alpha-CROWN",
        kind="verifier",
        family="linear relaxation",
        norms=("linf", "l2", "l1"),
        summary="CROWN with the lower lines of ReLUs and the tangents of smooth activations optimised by gradient "
        "ascent, for every bound anew.",
        paper="Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid and Massively "
        "Parallel Incomplete Verifiers, ICLR 2021",
        url="https://arxiv.org/abs/2011.13824",
        tighter_than=("crown", "ibp"),
    )

    def __init__(self, iterations: int = 20, rate: float = 0.5) -> None:
        """iterations: passes per bound, the first with CROWN's slopes; rate: first step of a slope, which
        shrinks to 2 / iterations of it."""
        if iterations < 1 or not rate > 0:
            raise InvalidInput(f"alpha_crown needs iterations >= 1 and rate > 0, not {iterations} and {rate}")
        self.iterations, self.rate = iterations, rate

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
        from verifiers.graph import graph_of

        self.check_norm(ball)
        schedule = Schedule(self.iterations, self.rate)
        return optimized_margins(graph_of(network), x, labels, ball, schedule, deadline)
