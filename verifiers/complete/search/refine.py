"""Layerwise tightening that also branches: linear programs for all unstable neurons, a short search for some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from verifiers.lp.tighten import Relaxed, tighten, tighten_layer

from .phase_search import Patience, search_phases

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.chain import Interval
    from verifiers.lp.input_set import InputSet
    from verifiers.lp.program import TriangleProgram
    from verifiers.lp.safe_bound import Vector
    from verifiers.lp.solver import LinearSolver

_NEURONS, _NODES = 10, 12  # how many neurons of a layer are searched for stability, with how many linear programs each


def refine(
    layers: Sequence[AffineLayer], inputs: InputSet, intervals: Sequence[Interval], deadline: Deadline
) -> Relaxed:
    """The triangle program of all layers but the last, its bounds tightened layer by layer until the deadline.

    intervals: sound (lower, upper) of every ReLU's input.
    """
    return tighten(layers, inputs, intervals, deadline, _refine_layer)


def _refine_layer(
    program: TriangleProgram, solver: LinearSolver, layer: AffineLayer, lower: Vector, upper: Vector, deadline: Deadline
) -> None:
    tighten_layer(program, solver, layer, lower, upper, deadline)
    _search_stable(program, solver, layer, lower, upper, deadline)


def _search_stable(
    program: TriangleProgram, solver: LinearSolver, layer: AffineLayer, lower: Vector, upper: Vector, deadline: Deadline
) -> None:
    """Try to prove the neurons nearest to stable stable, by branch and bound on the phases of the layers before."""
    unstable = np.flatnonzero((lower < 0) & (upper > 0))
    nearest = unstable[np.argsort(np.minimum(-lower[unstable], upper[unstable]))][:_NEURONS]
    for neuron in nearest.tolist():
        if deadline.expired():
            return
        sign = 1.0 if -lower[neuron] < upper[neuron] else -1.0
        objective = program.neuron(layer, neuron, sign)
        found = search_phases(program, solver, objective, lambda _: None, deadline, Patience(_NODES))
        bound = found.bound if math.isfinite(found.bound) else -math.inf
        if sign > 0:
            lower[neuron] = max(lower[neuron], bound)
        else:
            upper[neuron] = min(upper[neuron], -bound)
