"""Margins by linear programming: one warm linear program per class on a finished triangle program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .safe_bound import Vector

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from verifiers.graph.rewriting.affine import AffineLayer

    from .program import TriangleProgram
    from .solver import LinearSolver


def bound_margins(
    program: TriangleProgram,
    solver: LinearSolver,
    last: AffineLayer,
    label: int,
    margins: Vector,
    others: Iterable[int],
    deadline: Deadline,
) -> dict[int, Vector]:
    """Raise `margins` (C,) in place, for the classes `others`, to what the relaxation proves.

    last: the layer that gives the logits. Stops at the deadline, keeping what it has. Returns, by class, the
    relaxation's worst input (n,) as the solver sees it.
    """
    worst: dict[int, Vector] = {}
    for other in others:
        if deadline.expired():
            break
        solution = solver.minimum(program.margin(last, label, other), deadline)
        margins[other] = max(margins[other], solution.bound)
        worst[other] = solution.primal[: program.inputs.size]
    return worst
