"""ReluVal: the input is split until interval-like bounds prove every piece.

Bounded: every box by back-substitution, which is tighter than the paper's symbolic intervals, rounded outward. ReLU
networks with few inputs take many boxes at once (`verifiers.bounds.optimized.many_boxes`), all others the ordinary
CROWN. Split: boxes are halved along the coordinate from which most of what the bound loses comes, with the ordinary
CROWN along that of the largest smear, gradient times width. Works for every network that the bounds handle, under l_inf
with the box. It decides every problem whose least margin is not within 1e-7 or so of zero, given time, and is
fast where inputs are few: ACAS Xu has five. With hundreds of inputs the number of pieces explodes, and splitting ReLUs
(`beta_crown`) is the method to use.

What the verdicts rest on: outward-rounded bounds of pieces that cover the input set, which can be written as a proof
(`proofs.check_boxes`); witnesses are judged in float64.
Cost: one batch of bounds per batch of boxes.

Wang et al., Formal Security Analysis of Neural Networks using Symbolic Intervals, USENIX Security 2018.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Verdict
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.problem import Problem

_FEW = 64  # inputs, up to which the rows of all neurons at the input are kept


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

    def __init__(self, batch: int = 256, proofs: str | None = None) -> None:
        """batch: pieces bounded at once; proofs: folder where the proof of what is verified is written, for
        `sokbench check-proof` (few inputs, affine maps, sums and ReLUs; `Unsupported` elsewhere)."""
        if batch < 1:
            raise InvalidInput(f"reluval needs batch >= 1, not {batch}")
        self.batch, self.proofs = batch, proofs

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from verifiers.bounds.optimized.many_boxes import takes
        from verifiers.bounds.optimized.margins import margin_rows, relaxed_input
        from verifiers.bounds.sets.inputs import Interval, box_around
        from verifiers.graph import graph_of
        from verifiers.graph.rewriting.max_to_relu import max_to_relu

        from .few_inputs import decide_boxes
        from .proofs.boxes import write_box_proof
        from .search.input_search import Boxes, box_bounder, engine_bounder
        from .witness import WitnessFinder

        finder, ball, graph = WitnessFinder(problem), problem.ball, graph_of(problem.network)
        # proofs know leaky ReLUs, clamps and maxima as ReLUs
        graph = graph if self.proofs is None else max_to_relu(graph)
        few = takes(graph) and problem.x.numel() <= _FEW
        if self.proofs is not None and not few:
            raise Unsupported(f"proofs of input splitting are for ReLU networks of at most {_FEW} inputs")
        witness = finder.attack(deadline)
        if witness is not None:
            return Outcome(Verdict.FALSIFIED, witness=witness, stats={"decided_by": "attack"})
        others = torch.arange(graph.num_classes)
        others = others[others != problem.label]
        unknown = torch.full((len(others),), -torch.inf, dtype=torch.float64)
        with torch.no_grad():
            state = relaxed_input(graph, problem.x, ball, deadline) if few else None
            write = None
            if state is not None:
                start, hull = margin_rows(graph, problem.label, others), state.exact.inputs.interval()
                bounder = box_bounder(state, start, deadline, keep=self.proofs is not None)
                root = Boxes.root(hull, unknown, dict(state.bounds))
                if self.proofs is not None:
                    write = partial(write_box_proof, Path(self.proofs), problem, hull, start)
            else:
                bounder = engine_bounder(graph, problem.label, deadline)
                hull = Interval(*box_around(problem.x[None].double(), ball.radius, ball.low, ball.high))
                root = Boxes.root(hull, unknown, {})
            return decide_boxes(root, bounder, finder.among, deadline, self.batch, write)
