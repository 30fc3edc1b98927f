"""The kinds of method. A class is abstract (never instantiated) or final (never subclassed).

A method's `__init__` only stores parameters. What it cannot do it says by raising `Unsupported`; the base classes
turn that, and a deadline that passed, into an `Outcome` with the matching `Termination`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from .deadline import Deadline, OutOfTime
from .errors import InvalidInput, Unsupported
from .outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Network
    from .problem import Ball, Problem

Kind = Literal["verifier", "attack", "certifier"]


@dataclass(frozen=True)
class MethodInfo:
    """What a method is, for people and for the harness. Written with literals only, so that it can be listed
    without importing the method (torch and the solvers stay unloaded).

    slug:          the name in `sokbench.method(slug)`, equal to the file's name
    title:         as the field calls it
    family:        place in the SoK taxonomy, such as "linear relaxation" (see `FAMILIES`)
    norms:         norms of the balls it can handle
    summary:       one plain sentence: what is relaxed or computed
    paper, url:    where it comes from
    complete:      whether it decides every supported problem, given time
    deterministic: whether its claims hold with certainty (False: with a stated confidence)
    uses_box:      whether it uses the box [low, high] of the ball (ignoring it is sound, only looser)
    tighter_than:  slugs of methods whose bounds it never falls below, by theory (compared by the audit)
    devices:       devices it runs on
    """

    slug: str
    title: str
    kind: Kind
    family: str
    norms: tuple[str, ...]
    summary: str
    paper: str
    url: str = ""
    complete: bool = False
    deterministic: bool = True
    uses_box: bool = True
    tighter_than: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)


FAMILIES = (
    "baseline",
    "attack",
    "interval",
    "linear relaxation",
    "linear programming",
    "semidefinite programming",
    "Lipschitz",
    "mixed-integer programming",
    "branch and bound",
    "SMT",
    "randomized smoothing",
)


class Method(ABC):
    """What every verifier and attack shares."""

    info: ClassVar[MethodInfo]

    def prepare(self, network: Network) -> None:  # noqa: B027  (a hook: most methods have nothing to prepare)
        """Work that is done once per network and timed apart from the instances, such as tracing its graph."""

    @final
    def check_norm(self, ball: Ball) -> None:
        """Raise `Unsupported` for a ball whose norm is not one of `info.norms`."""
        if ball.norm not in self.info.norms:
            raise Unsupported(f"{self.info.slug} handles the norms {', '.join(self.info.norms)}, not {ball.norm}")

    @abstractmethod
    def _answer(self, problem: Problem, deadline: Deadline) -> Outcome:
        """The outcome for a problem whose clean prediction is correct."""

    @final
    def verify(self, problem: Problem, limit: float | None = None) -> Outcome:
        """Answer one problem within `limit` seconds (None: no limit).

        A clean misclassification is falsified by the input itself. `Unsupported` and a passed deadline come back
        as the outcome's termination, never as a verdict. Other exceptions are defects and pass through.
        """
        from .evaluation import judge_witness

        started = time.monotonic()
        deadline = Deadline.after(limit)
        try:
            self.check_norm(problem.ball)
            misclassified, margin = judge_witness(problem, problem.x)
            if misclassified:
                outcome = Outcome(Verdict.FALSIFIED, witness=problem.x, stats={"clean_margin": margin})
            else:
                outcome = self._answer(problem, deadline)
        except Unsupported as reason:
            outcome = Outcome(Verdict.UNKNOWN, termination=Termination.UNSUPPORTED, stats={"reason": str(reason)})
        except OutOfTime as late:
            outcome = _late_outcome(late, problem.label)
        except MemoryError as error:
            outcome = Outcome(Verdict.UNKNOWN, termination=Termination.MEMORY, stats={"reason": str(error)})
        return replace(outcome, seconds=time.monotonic() - started)


class BoundingVerifier(Method):
    """A verifier that bounds the margins f_y - f_j from below, for a whole batch at once."""

    @abstractmethod
    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """Lower bounds (B, C) of f_y - f_j on the ball around each input; +inf at j = y.

        x: (B, *input_shape); labels: (B,) integers. The bounds hold in real arithmetic for the network's weights.
        Raises `Unsupported`, and `OutOfTime` with the bounds proved so far when `deadline` passes.
        """

    @final
    def _answer(self, problem: Problem, deadline: Deadline) -> Outcome:
        import torch

        labels = torch.tensor([problem.label])
        margins = self.margins(problem.network, problem.x[None], labels, problem.ball, deadline)
        return outcome_from_margins(margins)


class CompleteVerifier(Method):
    """A verifier that decides: verified, or falsified with a witness, if it is given enough time."""

    @abstractmethod
    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        """Verdict from proved bounds, or from a witness (judged again by `verify`)."""

    @final
    def _answer(self, problem: Problem, deadline: Deadline) -> Outcome:
        outcome = self.decide(problem, deadline)
        return outcome if outcome.witness is None else confirm_witness(problem, outcome)


class Attack(Method):
    """A search for a counterexample. It can falsify and never verifies."""

    @abstractmethod
    def search(self, problem: Problem, deadline: Deadline) -> Tensor:
        """The input in the ball with the least margin that was found, shape `network.input_shape`."""

    @final
    def _answer(self, problem: Problem, deadline: Deadline) -> Outcome:
        found = self.search(problem, deadline)
        return confirm_witness(problem, Outcome(Verdict.FALSIFIED, witness=found))


def outcome_from_margins(
    margins: Tensor, termination: Termination = Termination.OK, stats: dict[str, Any] | None = None
) -> Outcome:
    """Verified if every bound of the single row `margins` (1, C) is positive; NaN never verifies."""
    margin = float(margins.min()) if not bool(margins.isnan().any()) else float("-inf")
    verdict = Verdict.VERIFIED if margin > 0 else Verdict.UNKNOWN
    finite = margin if margin > float("-inf") else None
    return Outcome(verdict, margin=finite, termination=termination, stats=stats or {})


def _late_outcome(late: OutOfTime, label: int) -> Outcome:
    if late.margins is None:
        return Outcome(Verdict.UNKNOWN, termination=Termination.TIMEOUT, stats=late.stats)
    outcome = outcome_from_margins(late.margins, Termination.TIMEOUT, late.stats)
    # bounds that prove the property are a proof however late they came out of an inner loop
    return replace(outcome, termination=Termination.OK) if outcome.verdict is Verdict.VERIFIED else outcome


def confirm_witness(problem: Problem, outcome: Outcome) -> Outcome:
    """Keep a falsification only if its witness stands up in float64; record the margin it attains."""
    from .evaluation import judge_witness

    if outcome.witness is None:
        raise InvalidInput("a falsification needs a witness")
    valid, attained = judge_witness(problem, outcome.witness)
    stats = {**outcome.stats, "attained_margin": attained}
    if valid:
        return replace(outcome, verdict=Verdict.FALSIFIED, stats=stats)
    return replace(outcome, verdict=Verdict.UNKNOWN, witness=None, stats=stats)
