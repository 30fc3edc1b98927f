"""One class's semidefinite bound, step by step, from the linear program's multipliers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from verifiers.lp.safe_bound import Indices, Vector
from verifiers.lp.tighten import relax

from .certificate import Multipliers, certify
from .forms import Forms
from .interior_point import DualProblem

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from verifiers.lp.chain import Instance
    from verifiers.lp.program import TriangleProgram

_MOST_CURVED = 200
_ACCURACY = 1e-3
_NOTHING_TO_GAIN = 1e-9


def linear_start(image: Instance, deadline: Deadline) -> Mapping[int, Multipliers]:
    """The triangle relaxation's multipliers by class; raises the margins of `image` in place to its safe bounds."""
    relaxed = relax(image.layers, image.inputs, image.intervals)
    found: dict[int, Multipliers] = {}
    for other in (int(index) for index in np.argsort(image.margins) if index != image.label):
        if deadline.expired():
            break
        objective = relaxed.program.margin(image.layers[-1], image.label, other)
        solution = relaxed.solver.minimum(objective, deadline)
        image.margins[other] = max(image.margins[other], solution.bound)
        found[other] = _multipliers(relaxed.program, solution.dual)
    return found


def _multipliers(program: TriangleProgram, dual: Vector) -> Multipliers:
    """The row duals of z - p >= 0 and of z - s p <= t (negative in a minimisation) as multipliers."""
    floor = np.concatenate([np.zeros(0), *(dual[columns.floor[columns.unstable]] for columns in program.layers)])
    chord = np.concatenate([np.zeros(0), *(-dual[columns.chord[columns.unstable]] for columns in program.layers)])
    nothing = np.zeros(len(floor))
    return Multipliers(np.maximum(floor, 0.0), np.maximum(chord, 0.0), nothing, nothing)


class ClassAscent:
    """The interior-point run of the margin to one class, advanced step by step."""

    def __init__(self, forms: Forms, target: int, start: Multipliers, bound: float, hurried: bool) -> None:
        """bound: what the linear program proved; hurried: to stop where no more than the bound could be gained."""
        self._forms, self._target, self._bound, self._hurried = forms, target, bound, hurried
        # the network's own margin in the middle is above the optimum: no more than this can be gained
        middle = forms.behaviours(np.zeros((1, forms.inputs)))[0]
        self._scale = float(forms.margins[target] @ middle) - bound
        self._problem = DualProblem(forms, target, start, _curved(forms, start))
        self._steps = self._problem.solve(self._scale)
        self._longest = 0.0
        self.finished = self._scale <= _NOTHING_TO_GAIN * (1.0 + abs(bound))

    def step_seconds(self) -> float:
        """About how long the next step will take: as long as the longest before it, or as its operations say."""
        return self._longest or 2.0 * self._problem.step_flops() * seconds_per_flop()

    def advance(self) -> float:
        """Take one step and return the best bound proved so far."""
        began = time.monotonic()
        found = next(self._steps, None)
        self._longest = max(self._longest, time.monotonic() - began)
        if found is None:
            self.finished = True
            return self._bound
        multipliers, gap = found
        self._bound = max(self._bound, certify(self._forms, self._target, multipliers))
        enough = max(_ACCURACY * self._scale, self._bound if self._hurried else 0.0)
        self.finished = gap <= enough
        return self._bound


def seconds_per_flop() -> float:
    """The speed of this machine at this moment, from a matrix product of some milliseconds."""
    size = 300
    square = np.ones((size, size))
    began = time.monotonic()
    square @ square
    return (time.monotonic() - began) / (2.0 * size**3)


def _curved(forms: Forms, start: Multipliers) -> Indices:
    """The neurons that get a multiplier for z (z - p) = 0: where the chord costs the linear program most."""
    cost = start.chord * forms.offset
    # ties (a chord that costs nothing here may cost elsewhere) go to the larger triangle
    order = np.lexsort((-forms.offset, -cost))
    return np.sort(order[:_MOST_CURVED])
