"""Wall-clock limits that a method keeps by itself; the runner's kill is the second fence."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock, in seconds; `math.inf` means no limit."""

    at: float = math.inf

    @staticmethod
    def after(limit: float | None) -> Deadline:
        """The deadline `limit` seconds from now, `None` for no limit. Raises `InvalidInput` for NaN or negative."""
        if limit is None:
            return Deadline()
        if math.isnan(limit) or limit < 0:
            raise InvalidInput(f"the time limit must be a number of seconds >= 0, not {limit}")
        return Deadline(time.monotonic() + limit)

    def remaining(self) -> float:
        """Seconds left, never negative; `math.inf` without a limit."""
        return max(0.0, self.at - time.monotonic())

    def share(self, fraction: float) -> Deadline:
        """The point on the clock at which `fraction` of what remains has passed; no limit has no shares."""
        return self if math.isinf(self.at) else Deadline.after(fraction * self.remaining())

    def expired(self) -> bool:
        return time.monotonic() >= self.at

    def check(self, margins: Tensor | None = None, **stats: Any) -> None:
        """Raise `OutOfTime`, with what was proved so far, once the deadline has passed."""
        if self.expired():
            raise OutOfTime(margins, **stats)


class OutOfTime(Exception):
    """The deadline passed inside a method. Carries the best sound bounds proved until then.

    `margins`: (B, C) lower bounds as `BoundingVerifier.margins` returns them, or None if nothing is proved.
    """

    def __init__(self, margins: Tensor | None = None, **stats: Any) -> None:
        super().__init__("the time limit was reached")
        self.margins, self.stats = margins, stats
