"""Layerwise tightening: the triangle program of the layers so far bounds the pre-activations of the next one.

Each unstable neuron costs at most two linear programs that differ from the one before in their cost alone. A neuron
that the first of them proves stable does not need the second: no relaxation uses the other bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sokbench.core.deadline import Deadline

from .program import TriangleProgram
from .safe_bound import Vector
from .solver import LinearSolver

if TYPE_CHECKING:
    from verifiers.graph.rewriting.affine import AffineLayer

    from .input_set import InputSet

Interval = tuple[Vector, Vector]
Improve = Callable[[TriangleProgram, LinearSolver, "AffineLayer", Vector, Vector, Deadline], None]
"""Raises the bounds (lower, upper) of a layer in place, by the program of the layers before it and its solver."""


@dataclass(frozen=True)
class Relaxed:
    """The program of all ReLU layers and its warm solver; `finished` is False if time ran out on the way (the rest of
    the neurons then keep the bounds they came with)."""

    program: TriangleProgram
    solver: LinearSolver
    finished: bool


def tighten_layer(
    program: TriangleProgram, solver: LinearSolver, layer: AffineLayer, lower: Vector, upper: Vector, deadline: Deadline
) -> None:
    """Improve `lower` and `upper` (n,) of the unstable neurons in place until the deadline."""
    for neuron in np.flatnonzero((lower < 0) & (upper > 0)):
        # the side nearer to zero first: it is the likelier one to show that the neuron is stable
        for side in (1.0, -1.0) if -lower[neuron] < upper[neuron] else (-1.0, 1.0):
            if deadline.expired():
                return
            bound = solver.minimum(program.neuron(layer, int(neuron), side), deadline).bound
            if side > 0:
                lower[neuron] = max(lower[neuron], bound)
            else:
                upper[neuron] = min(upper[neuron], -bound)
            if lower[neuron] >= 0 or upper[neuron] <= 0:
                break


def tighten(
    layers: Sequence[AffineLayer],
    inputs: InputSet,
    intervals: Sequence[Interval],
    deadline: Deadline,
    improve: Improve = tighten_layer,
) -> Relaxed:
    """Build the triangle program of all layers but the last, improving the bounds of each on the way.

    layers: the chain, the last one giving the logits; intervals: sound (lower, upper) of every ReLU's input.
    """
    program = TriangleProgram(inputs)
    solver = LinearSolver(program)
    for depth, (layer, (lower, upper)) in enumerate(zip(layers[:-1], intervals, strict=True)):
        lower, upper = lower.copy(), upper.copy()
        # the first layer is affine in the inputs: its bounds are exact already
        if depth and not deadline.expired():
            improve(program, solver, layer, lower, upper, deadline)
        program.add_layer(layer, lower, upper)
        solver.extend()
    return Relaxed(program, solver, finished=not deadline.expired())


def relax(layers: Sequence[AffineLayer], inputs: InputSet, intervals: Sequence[Interval]) -> Relaxed:
    """The triangle program of all layers but the last with the bounds as given."""
    program = TriangleProgram(inputs)
    for layer, (lower, upper) in zip(layers[:-1], intervals, strict=True):
        program.add_layer(layer, lower, upper)
    return Relaxed(program, LinearSolver(program), finished=True)
