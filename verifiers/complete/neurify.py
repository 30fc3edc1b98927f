"""Neurify: symbolic linear relaxation, and splits of the ReLUs that influence the output most.

Relaxed: unstable ReLUs between two parallel lines (the symbolic linear relaxation is Fast-Lin's), for every layer at
the root. Split: the neuron whose relaxation, seen from the output, is widest (gradient of the bound times width of the
band); fixed neurons are exact in the domain, without multipliers for the phase. A domain with no neuron left to split
is decided by a linear program in the input, where the paper calls its solver too. Where inputs are few and unstable
neurons many (ACAS Xu), the input is split first, as its predecessor ReluVal does, with the same lines. Complete for
ReLU networks of affine layers and residual sums under l_inf with the box, and l1.

What the verdicts rest on: verified by a bound of every leaf in float64, rounded outward; witnesses are judged.
Cost: one pass per domain; many more domains than `beta_crown` needs.

Wang et al., Efficient Formal Safety Analysis of Neural Networks, NeurIPS 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem


class Neurify(GraphMethod, CompleteVerifier):
    """Parallel lines, and splits by influence."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="neurify",
        title="Neurify",
        kind="verifier",
        family="branch and bound",
        norms=("linf", "l1"),
        summary="Symbolic linear relaxation (parallel lines); the ReLU of the largest influence on the bound is split, "
        "a linear program decides where none is left.",
        paper="Wang et al., Efficient Formal Safety Analysis of Neural Networks, NeurIPS 2018",
        url="https://arxiv.org/abs/1809.08098",
        complete=True,
    )

    def __init__(self, batch: int = 64) -> None:
        """batch: domains split at once."""
        if batch < 1:
            raise InvalidInput(f"neurify needs batch >= 1, not {batch}")
        self.batch = batch

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from verifiers.bounds.optimized.ascent import Schedule
        from verifiers.bounds.relaxations.relu import PARALLEL

        from .few_inputs import split_inputs
        from .search.split_search import SplitSettings
        from .split_decision import Question, question, search_plain

        with torch.no_grad():
            asked = question(problem, deadline, "fastlin")
            if not isinstance(asked, Question):
                return asked
            settings = SplitSettings(self.batch, "influence", schedule=Schedule(1), patience=1 << 62)
            return split_inputs(asked, deadline, PARALLEL) or search_plain(asked, settings, deadline)
