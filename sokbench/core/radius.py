"""The largest certified radius, by bisection on `verify`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .deadline import Deadline
from .errors import InvalidInput, Unsupported
from .outcome import Termination, Verdict
from .problem import Ball, Problem, parse_norm

if TYPE_CHECKING:
    from torch import Tensor

    from .method import Method
    from .network import Network


@dataclass(frozen=True)
class RadiusSearch:
    """radius: largest radius that was proved (0 if none); refuted: smallest one that was not; steps: calls made;
    termination: ok, timeout (then `radius` is the best proved so far), or what stopped the method at every radius."""

    radius: float
    refuted: float
    steps: int
    termination: Termination


def certified_radius(
    method: Method,
    network: Network,
    x: Tensor,
    label: int,
    norm: str,
    limit: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> float:
    """Largest radius at which `method` verifies; see `search_radius` for the arguments and errors."""
    return search_radius(method, network, x, label, norm, limit, low, high).radius


def search_radius(
    method: Method,
    network: Network,
    x: Tensor,
    label: int,
    norm: str,
    limit: float | None = None,
    low: float | None = None,
    high: float | None = None,
    start: float = 0.01,
    tolerance: float = 0.001,
    report: Callable[[float], None] | None = None,
) -> RadiusSearch:
    """Bracket by doubling from `start`, then bisect until the bracket is within `tolerance` of its upper end.

    x: one input; norm: of the ball; limit: seconds for the whole search; low, high: the input box;
    report: called with every radius as it is proved, so that a search that is killed loses nothing.
    l0 radii are whole numbers and are searched exactly. The radius returned was itself verified, so it is
    certified whether or not the method is monotone. Raises `Unsupported` where the method does.
    """
    from .evaluation import distance

    deadline = Deadline.after(limit)
    integral = parse_norm(norm) == "l0"
    proved, refuted, steps = 0.0, math.inf, 0
    candidate = 1.0 if integral else start
    # no ball needs to be larger than the box, or than the whole of float range where there is none
    largest = _largest_radius(norm, x, low, high)
    while not _close(proved, refuted, tolerance, integral) and proved < largest:
        if deadline.expired():
            return RadiusSearch(proved, refuted, steps, Termination.TIMEOUT)
        problem = Problem(network, x, label, Ball(parse_norm(norm), min(candidate, largest), low, high))
        outcome = method.verify(problem, None if limit is None else deadline.remaining())
        steps += 1
        if outcome.verdict is Verdict.VERIFIED:
            proved = problem.ball.radius
            if report is not None:
                report(proved)
        elif outcome.witness is not None:
            refuted = min(problem.ball.radius, distance(outcome.witness, x, norm))
        elif outcome.termination is Termination.OK:
            refuted = problem.ball.radius
        elif outcome.termination is Termination.UNSUPPORTED:
            raise Unsupported(outcome.stats["reason"])
        else:
            return RadiusSearch(proved, refuted, steps, outcome.termination)
        candidate = 2 * proved if refuted == math.inf else (proved + refuted) / 2
        if integral:
            candidate = math.floor(candidate)
    return RadiusSearch(proved, refuted, steps, Termination.OK)


def _close(proved: float, refuted: float, tolerance: float, integral: bool) -> bool:
    if integral:
        return refuted - proved <= 1
    # below 1e-9 there is nothing left to find: the input itself is on the decision boundary
    return refuted - proved <= max(tolerance * refuted, 1e-9) if refuted < math.inf else False


def _largest_radius(norm: str, x: Tensor, low: float | None, high: float | None) -> float:
    if norm == "l0":
        return float(x.numel())
    if low is None or high is None:
        return 1e6
    if high <= low:
        raise InvalidInput(f"the input box is empty: low {low} >= high {high}")
    width = high - low
    return {"linf": width, "l2": width * math.sqrt(x.numel()), "l1": width * x.numel()}[norm]
