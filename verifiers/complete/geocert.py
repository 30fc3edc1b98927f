"""GeoCert: the linear regions of a ReLU network traversed from the input outwards, under l2.

Exact: within a region (a pattern of phases) the network is affine, so the nearest point of the region that is
classified otherwise is a convex projection. Regions that the ball reaches are visited in the order of their distance,
over the facets between them; the input is robust if none of them holds a misclassified point within the radius.
Neurons that CROWN proves stable on the ball have no facet. For chains of affine layers and ReLU, with or without the
box, up to a stated number of unstable neurons: regions grow exponentially.

What the verdicts rest on. Each distance is bounded from below by a dual function: for multipliers m >= 0 of the
constraints g z <= h, min over the box of |z - x|^2 / 2 + m (g z - h) is a lower bound of half the squared distance,
whatever m is; it is evaluated with a bound of its own rounding error, and m comes from an optimiser that is not
trusted. A facet is left out, and a region closed, only if that bound exceeds the radius. Counterexamples are judged in
float64.

Cost: per region one small convex program per free neuron and class.

Jordan, Lewis, Dimakis: Provable Certificates for Adversarial Examples: Fitting a Ball in the Union of Polytopes.
NeurIPS 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem

_MOST_UNSTABLE = 40


class GeoCert(CompleteVerifier):
    """Traversal of linear regions by distance."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="geocert",
        title="GeoCert",
        kind="verifier",
        family="branch and bound",
        norms=("l2",),
        summary="Visits the network's linear regions in the order of their l2 distance from the input; at most 40 "
        "unstable neurons.",
        paper="Jordan, Lewis, Dimakis: Provable Certificates for Adversarial Examples, NeurIPS 2019",
        url="https://arxiv.org/abs/1903.08778",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from verifiers.bounds import margin_bounds, preactivation_bounds
        from verifiers.graph import graph_of
        from verifiers.lp.chain import chain_of

        from .search.regions import traverse
        from .witness import WitnessFinder

        layers, graph = chain_of(problem.network), graph_of(problem.network)
        label, x = torch.tensor([problem.label]), problem.x[None]
        margins = margin_bounds(graph, x, label, problem.ball, "crown", deadline)[0]
        if margins.min() > 0:
            return Outcome(Verdict.VERIFIED, float(margins.min()), stats={"decided_by": "crown"})
        finder = WitnessFinder(problem, layers)
        witness = finder.attack(deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
        bounds = preactivation_bounds(graph, x, problem.ball, "crown", deadline)
        intervals = [(low.flatten().numpy(), up.flatten().numpy()) for low, up in bounds]
        unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in intervals)
        if unstable > _MOST_UNSTABLE:
            raise Unsupported(f"geocert takes at most {_MOST_UNSTABLE} unstable neurons, not {unstable}")
        others = [other for other in range(len(margins)) if margins[other] <= 0]
        found = traverse(problem, layers, intervals, others, finder, deadline)
        stats = {"regions": found.regions, "undecided": found.undecided, "decided_by": "search"}
        margin = float(margins.min()) if bool(margins.isfinite().any()) else None
        if found.witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=found.witness, stats=stats)
        if found.finished and not found.undecided:
            return Outcome(Verdict.VERIFIED, stats=stats)
        ended = Termination.OK if found.finished else Termination.TIMEOUT
        return Outcome(Verdict.UNKNOWN, margin, None, ended, stats=stats)
