"""One warm HiGHS model: costs and bounds change, the basis stays, so that the next solve starts next to its optimum.

Presolve is off: it throws the basis away, and cost 1.3 to 4 times more where it was measured. Nothing that comes out
of the solver is trusted: `LinearSolver.minimum` turns its duals into bounds by `safe_bound`, whatever its status.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from .safe_bound import Bounds, DualBound, Vector

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline

    from .program import Objective, TriangleProgram


_DUAL_SIMPLEX = 1  # HiGHS's number for it


class Status(Enum):
    """What the solver said: a hint for what to do next, never a proof."""

    OPTIMAL = "optimal"
    CUT_OFF = "the objective passed `stop_above`"
    INFEASIBLE = "infeasible"
    TIME = "time"
    OTHER = "other"


@dataclass(frozen=True)
class Solution:
    """bound: safe lower bound of the minimum, +inf if infeasibility was proved; primal: (columns,) the solver's point,
    feasible up to its tolerances if optimal; dual: (rows,) its row duals."""

    status: Status
    bound: float
    primal: Vector
    dual: Vector


class LinearSolver:
    """A warm model of one program. `extend` after layers were added to it, `set_bounds` for branch and bound."""

    def __init__(self, program: TriangleProgram) -> None:
        import highspy

        self._program = program
        self._highs: Any = highspy.Highs()
        options: dict[str, Any] = {"output_flag": False, "threads": 1, "presolve": "off", "solver": "simplex"}
        for option, value in {**options, "simplex_strategy": _DUAL_SIMPLEX}.items():
            self._highs.setOptionValue(option, value)
        self._statuses = {
            highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
            highspy.HighsModelStatus.kObjectiveBound: Status.CUT_OFF,
            highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
            highspy.HighsModelStatus.kTimeLimit: Status.TIME,
        }
        self._bounds = Bounds(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
        self._cost = np.zeros(0)
        self.extend()

    def extend(self) -> None:
        """Add the columns and rows that the program gained; the basis of the old ones stays."""
        target = self._program.bounds
        columns, rows = len(self._bounds.lower), len(self._bounds.row_lower)
        new = len(target.lower) - columns
        empty = np.zeros(0, dtype=np.int32)
        starts = np.zeros(new, dtype=np.int32)
        self._highs.addCols(
            new, np.zeros(new), target.lower[columns:], target.upper[columns:], 0, starts, empty, np.zeros(0)
        )
        matrix = self._program.matrix()
        added = matrix[rows:]
        self._highs.addRows(
            added.shape[0],
            target.row_lower[rows:],
            target.row_upper[rows:],
            added.nnz,
            added.indptr[:-1].astype(np.int32),
            added.indices.astype(np.int32),
            added.data,
        )
        self._bounds = target.copy()
        self._cost = np.concatenate([self._cost, np.zeros(new)])
        self._dual_bound = DualBound(matrix)

    def set_bounds(self, bounds: Bounds) -> None:
        """Change the sides of rows and columns; only what differs is passed on."""
        old = self._bounds
        rows = np.flatnonzero((bounds.row_lower != old.row_lower) | (bounds.row_upper != old.row_upper))
        columns = np.flatnonzero((bounds.lower != old.lower) | (bounds.upper != old.upper))
        if len(columns):
            self._highs.changeColsBounds(
                len(columns), columns.astype(np.int32), bounds.lower[columns], bounds.upper[columns]
            )
        for row in rows:
            self._highs.changeRowBounds(int(row), bounds.row_lower[row], bounds.row_upper[row])
        self._bounds = bounds

    def minimum(self, objective: Objective, deadline: Deadline, stop_above: float = math.inf) -> Solution:
        """Minimise `objective`: a safe lower bound, valid also where the solver stopped early or failed.

        stop_above: the solver may stop once its dual bound of the objective is above. A solve that fails without
        using up the time is tried once more from scratch.
        """
        self._set_cost(objective.cost)
        self._highs.setOptionValue("objective_bound", min(stop_above - objective.offset, 1e300))
        solution = self._solve(objective, deadline)
        if solution.status is Status.OTHER and not deadline.expired():
            self._highs.clearSolver()
            solution = self._solve(objective, deadline)
        return solution

    def _set_cost(self, cost: Vector) -> None:
        changed = np.flatnonzero(cost != self._cost)
        if len(changed):
            self._highs.changeColsCost(len(changed), changed.astype(np.int32), cost[changed])
        self._cost = cost

    def _solve(self, objective: Objective, deadline: Deadline) -> Solution:
        # the solver's limit is on the clock of all its runs together
        remaining = min(deadline.remaining(), 1e9)
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + remaining)
        self._highs.run()
        status = self._statuses.get(self._highs.getModelStatus(), Status.OTHER)
        found = self._highs.getSolution()
        dual = _sized(found.row_dual, len(self._bounds.row_lower))
        primal = _sized(found.col_value, len(self._bounds.lower))
        least = self._dual_bound.minimum(objective.cost, self._bounds, dual, objective.cost_error)
        bound = math.nextafter(least + objective.offset, -math.inf)
        if status is Status.INFEASIBLE and self._proved_empty():
            bound = math.inf
        return Solution(status, bound, primal, dual)

    def _proved_empty(self) -> bool:
        """Whether the solver's Farkas ray checks; its sign is the solver's convention, either one is a proof."""
        _, exists, ray = self._highs.getDualRay()
        if not exists or len(ray) != len(self._bounds.row_lower):
            return False
        return any(self._dual_bound.refutes(self._bounds, sign * np.asarray(ray)) for sign in (1.0, -1.0))


def _sized(values: list[float], size: int) -> Vector:
    """The solver's values, or zeros where it has none."""
    return np.asarray(values) if len(values) == size else np.zeros(size)
