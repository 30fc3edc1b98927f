"""ReluVal: the input is split until interval-like bounds prove every piece.

Bounded: every box by back-substitution (CROWN, which is tighter than the paper's symbolic intervals), rounded
outward; for ReLU networks many boxes share one pass (`verifiers.bounds.optimized_boxes`). Split: boxes are halved along
the coordinate with the largest smear, its influence on the bound times its width. Works for every network that the
bounds handle, under l_inf with the box. It decides every problem whose least margin is not zero, given time, and is
fast where inputs are few: ACAS Xu has five. With hundreds of inputs the number of pieces explodes, and splitting ReLUs
(`beta_crown`) is the method to use.

What the verdicts rest on: outward-rounded bounds of pieces that cover the input set; witnesses are judged in float64.
Cost: one batch of bounds per batch of boxes.

Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.problem import Problem


class ReluVal(GraphMethod, CompleteVerifier):
    """Input splitting with gradients."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="reluval",
        title="ReluVal",
        kind="verifier",
        family="branch and bound",
        norms=("linf",),
        summary="The input box is halved along the coordinate of the largest gradient times width until linear bounds "
        "prove every piece; for few inputs.",
        paper="Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018",
        url="https://arxiv.org/abs/1804.10829",
        complete=True,
    )

    def __init__(self, batch: int = 32) -> None:
        """batch: pieces bounded at once."""
        if batch < 1:
            raise InvalidInput(f"reluval needs batch >= 1, not {batch}")
        self.batch = batch

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from verifiers.bounds.inputs import box_around
        from verifiers.bounds.optimized_margins import margin_rows, relaxed_input
        from verifiers.graph import graph_of

        from .input_search import box_bounder, engine_bounder, search_boxes
        from .witness import WitnessFinder

        finder, ball, graph = WitnessFinder(problem), problem.ball, graph_of(problem.network)
        witness = finder.attack(deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
        with torch.no_grad():
            root = relaxed_input(graph, problem.x, ball, deadline)
        bounder = engine_bounder(graph, problem.label, deadline)
        if root is not None and len(graph.nonlinear) == len(graph.relus):
            others = torch.arange(graph.num_classes)
            bounder = box_bounder(root, margin_rows(graph, problem.label, others[others != problem.label]))
        lower, upper = box_around(problem.x.double(), ball.radius, ball.low, ball.high)
        found = search_boxes(lower, upper, bounder, finder.among, self.batch, deadline)
        stats = {"boxes": found.boxes, "open": found.left, "decided_by": "search"}
        if found.witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=found.witness, stats=stats)
        margin = found.bound if found.bound > float("-inf") else None
        if found.left == 0 and found.bound > 0:
            return Outcome(Verdict.VERIFIED, margin, stats=stats)
        return Outcome(Verdict.UNKNOWN, margin, None, Termination.TIMEOUT, stats=stats)
