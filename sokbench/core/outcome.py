"""What a method answers: the verdict, how the run ended, and the evidence for both.

What was claimed (`Verdict`) and how the run ended (`Termination`) are told apart, because a method that ran into
its limit may still have proved something, and one that finished may still not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Verdict(StrEnum):
    VERIFIED = "verified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"


class Termination(StrEnum):
    OK = "ok"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    UNSUPPORTED = "unsupported"
    SKIPPED = "skipped"


@dataclass(frozen=True, eq=False)
class Outcome:
    """The answer to one problem.

    verdict:     verified (for every input in the ball f_y > f_j for all j), falsified (by `witness`) or unknown
    margin:      best proved lower bound of min over j != y of f_y - f_j on the ball, in units of the logits, or None
    witness:     an input in the ball, shape `network.input_shape`, with f_y <= f_j for some j, or None
    termination: how the run ended
    seconds:     wall time of the call
    stats:       whatever the method counts (JSON values only); `reason` says why where termination is not ok
    """

    verdict: Verdict
    margin: float | None = None
    witness: Tensor | None = None
    termination: Termination = Termination.OK
    seconds: float = 0.0
    stats: Mapping[str, Any] = field(default_factory=dict)
