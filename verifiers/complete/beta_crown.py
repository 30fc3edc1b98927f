"""beta-CROWN: branch and bound with bound propagation that knows the splits.

Bounded: every domain by back-substitution with the lines of its unstable neurons and a multiplier for each split,
optimised together without a tape (`split_search`): lower slopes of ReLUs, places where tangents of smooth activations
touch. Rows that an unsafe set joins by "and" need no multipliers of their own: max(a, b) = b + relu(a - b), and the
slope of that ReLU is the weight of their convex combination.
Branched: ReLUs on their phase, smooth activations into two halves of their interval; by default the neuron with the
largest gap between line and activation where the domain's bound is attained (`branching`). At the top of the tree the
bounds of all layers are raised again after each split, by alpha-CROWN with the multipliers of the splits, and the best
of one split per layer is kept (`refined_search`).
Decided: a domain without free ReLUs by a linear program. Complete for ReLU networks of affine layers and residual sums
under l_inf with the box, and l1. Smooth activations can be split for ever: then it ends at the limit, or undecided.
Other operations keep CROWN's lines, and a problem that these leave open ends undecided.

Where inputs are few and unstable neurons many (ACAS Xu), the input is split instead of ReLUs for half of the time
(`few_inputs`).

What the verdicts rest on: verified by a bound of every leaf computed in float64 and rounded outward; falsified by an
input judged in float64 (attacks come first, and every batch of domains offers the points where its bounds are taken).

Cost: exponential in the number of unstable neurons at worst; per domain a dozen passes back to the input and forward.

Wang et al., Beta-CROWN: Efficient Bound Propagation with Per-neuron Split Constraints for Neural Network Robustness
Verification, NeurIPS 2021; Bunel et al., JMLR 2020 (BaBSR); De Palma et al., 2021 (FSB).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from sokbench.core.errors import InvalidInput
from sokbench.core.method import CompleteVerifier, MethodInfo
from verifiers.graph_method import GraphMethod

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.outcome import Outcome
    from sokbench.core.problem import Problem

    from .search.split_search import SplitSettings
    from .split_decision import Question

_RULES = ("gap", "babsr", "fsb", "kfsb")


class BetaCrown(GraphMethod, CompleteVerifier):
    """Branch and bound with split constraints in bound propagation."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="beta_crown",
        title="beta-CROWN",
        kind="verifier",
        family="branch and bound",
        norms=("linf", "l1"),
        summary="Branch and bound on ReLU phases and halves of smooth activations; bounds by back-substitution with "
        "optimised lines and a multiplier for every split; every leaf proved with rounding.",
        paper="Wang et al., Beta-CROWN: Efficient Bound Propagation with Per-neuron Split Constraints for Neural "
        "Network Robustness Verification, NeurIPS 2021",
        url="https://arxiv.org/abs/2103.06624",
        complete=True,
        tighter_than=("crown", "ibp"),
    )

    def __init__(
        self,
        batch: int = 64,
        branching: Literal["gap", "babsr", "fsb", "kfsb"] = "gap",
        candidates: int = 3,
        iterations: int = 8,
        proofs: str | None = None,
    ) -> None:
        """batch: domains split at once; branching: gap, babsr, fsb or kfsb; candidates: of each estimate that kfsb
        tries before a split; iterations: passes per domain; proofs: folder where the proof of what is verified is
        written, for `sokbench check-proof` (affine maps, sums, ReLUs and what these express, sigmoid, tanh, arctan;
        `Unsupported` elsewhere)."""
        if min(batch, candidates, iterations) < 1:
            raise InvalidInput(
                f"beta_crown needs batch, candidates and iterations >= 1, not {batch}, {candidates}, {iterations}"
            )
        if branching not in _RULES:
            raise InvalidInput(f"beta_crown has the branching rules {', '.join(_RULES)}, not {branching!r}")
        self.batch, self.branching, self.candidates = batch, branching, candidates
        self.iterations, self.proofs = iterations, proofs

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        from .few_inputs import split_inputs
        from .proofs.splits import refuse_uncheckable
        from .split_decision import Question, decide_rows, question

        with torch.no_grad():
            if self.proofs is not None:
                refuse_uncheckable(problem.network, problem.ball)
            asked = question(problem, deadline, always=self.proofs is not None)
            if not isinstance(asked, Question):
                return asked
            if self.proofs is None:
                return split_inputs(asked, deadline) or decide_rows(asked, self._settings(), deadline)
            return self._with_proof(problem, asked, Path(self.proofs), deadline)

    def _with_proof(self, problem: Problem, asked: Question, folder: Path, deadline: Deadline) -> Outcome:
        from .few_inputs import split_inputs
        from .proofs.boxes import write_box_proof
        from .proofs.file import write_proof
        from .proofs.splits import Searched, proof_arrays, usual_slopes
        from .split_decision import decide_rows

        write_boxes = partial(write_box_proof, folder, problem, asked.relaxed.exact.inputs.interval(), asked.start)
        outcome = split_inputs(asked, deadline, write=write_boxes)
        if outcome is not None:
            return outcome
        written, usual = [], usual_slopes(asked.relaxed)

        def write(searched: Searched) -> None:
            written.append(str(write_proof(proof_arrays(problem, asked, searched, usual), folder)))

        outcome = decide_rows(asked, self._settings(), deadline, write)
        return replace(outcome, stats={**outcome.stats, "proof": written[0]}) if written else outcome

    def _settings(self) -> SplitSettings:
        from verifiers.bounds.optimized.ascent import Schedule

        from .search.split_search import SplitSettings

        return SplitSettings(self.batch, self.branching, self.candidates, Schedule(self.iterations, 0.2, 1.0))
