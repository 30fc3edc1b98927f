"""Linear regions of a ReLU chain and their l2 distances, bounded from below by dual functions with rounding."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from sokbench.core.problem import Problem
    from verifiers.graph.rewriting.affine import AffineLayer

    from ..witness import WitnessFinder

Vector = NDArray[np.float64]
Pattern = tuple[bool, ...]

_UNIT = 2.0**-53


@dataclass(frozen=True)
class Traversal:
    """witness: what was found; regions: visited; undecided: regions with a point within rounding of the boundary;
    finished: whether the ball was exhausted."""

    witness: Tensor | None
    regions: int
    undecided: int
    finished: bool


@dataclass(frozen=True)
class _Affine:
    """Rows and constants of functions of the input, and how far each can be from the exact ones on the ball."""

    rows: Vector
    constants: Vector
    error: Vector


@dataclass(frozen=True)
class _Region:
    """signs * (rows x + constants) >= 0 for the free neurons, and the margins to the other classes."""

    neurons: _Affine
    margins: _Affine


def traverse(
    problem: Problem,
    layers: Sequence[AffineLayer],
    intervals: Sequence[tuple[Vector, Vector]],
    others: Sequence[int],
    finder: WitnessFinder,
    deadline: Deadline,
) -> Traversal:
    """Visit the regions that the ball reaches, nearest first.

    intervals: sound pre-activation bounds on the ball; others: the classes that are still open.
    """
    x = problem.x.double().numpy().ravel()
    ball = problem.ball
    half = 0.5 * ball.radius * ball.radius * (1 + 4 * _UNIT)
    reach = float(np.abs(x).max(initial=0.0)) + ball.radius
    low = np.full_like(x, -reach if ball.low is None else ball.low)
    high = np.full_like(x, reach if ball.high is None else ball.high)
    # the ball's own hull bounds every coordinate, with room for rounding
    lower = np.maximum(low, x - ball.radius * (1 + 4 * _UNIT) - 4 * _UNIT * reach)
    upper = np.minimum(high, x + ball.radius * (1 + 4 * _UNIT) + 4 * _UNIT * reach)
    box = _Box(x, lower, upper)
    start = _pattern_at(layers, intervals, x)
    seen, ages, undecided, regions = {start}, itertools.count(), 0, 0
    queue: list[tuple[float, int, Pattern]] = [(0.0, next(ages), start)]
    while queue:
        if deadline.expired():
            return Traversal(None, regions, undecided, False)
        _, _, pattern = heapq.heappop(queue)
        regions += 1
        region = _region(layers, intervals, pattern, problem.label, others, reach)
        signs = np.where(np.array(pattern, dtype=bool), 1.0, -1.0)
        # signs (rows x + constants) >= 0 as g z <= h, widened by the error
        g = -signs[:, None] * region.neurons.rows
        h = signs * region.neurons.constants + region.neurons.error
        for row, constant, error in _each(region.margins):
            bound, point = box.distance(np.vstack([g, row]), np.append(h, error - constant), half, len(g) + 1)
            if bound <= half:
                witness = finder.at(point)
                if witness is not None:
                    return Traversal(witness, regions, undecided, True)
                undecided += 1
        for place in range(len(pattern)):
            flipped = (*pattern[:place], not pattern[place], *pattern[place + 1 :])
            if flipped in seen:
                continue
            # the facet: this neuron at zero as well
            facet_g, facet_h = np.vstack([g, -g[place]]), np.append(h, -h[place] + 2 * region.neurons.error[place])
            bound, _ = box.distance(facet_g, facet_h, half, len(facet_g))
            if bound <= half:
                seen.add(flipped)
                heapq.heappush(queue, (bound, next(ages), flipped))
    return Traversal(None, regions, undecided, True)


def _each(functions: _Affine) -> list[tuple[Vector, float, float]]:
    triples = zip(functions.rows, functions.constants, functions.error, strict=True)
    return [(row, float(constant), float(error)) for row, constant, error in triples]


def _free(intervals: Sequence[tuple[Vector, Vector]]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero((low < 0) & (up > 0)) for low, up in intervals]


def _pattern_at(layers: Sequence[AffineLayer], intervals: Sequence[tuple[Vector, Vector]], x: Vector) -> Pattern:
    value, pattern = x, list[bool]()
    for layer, free in zip(layers[:-1], _free(intervals), strict=True):
        before = layer.weight @ value + layer.bias
        pattern += [bool(z >= 0) for z in before[free]]
        value = np.maximum(before, 0.0)
    return tuple(pattern)


def _region(
    layers: Sequence[AffineLayer],
    intervals: Sequence[tuple[Vector, Vector]],
    pattern: Pattern,
    label: int,
    others: Sequence[int],
    reach: float,
) -> _Region:
    """The affine functions of a region. Errors: a layer's products of n terms err by gamma_n |W| |A|, its constants
    likewise, and errors of the layer before are multiplied by |W|; all as values on the ball, |x| <= reach."""
    size = layers[0].weight.shape[1]
    rows, constants, error = np.eye(size), np.zeros(size), np.zeros(size)
    parts: list[_Affine] = []
    used = 0
    for depth, layer in enumerate(layers):
        weight = layer.weight
        magnitude = abs(weight)
        terms = 4 * (weight.shape[1] + 4) * _UNIT
        spread = np.abs(rows).sum(axis=1) * reach + np.abs(constants) + error
        error = magnitude @ error + terms * (magnitude @ spread + np.abs(layer.bias))
        error = error + layer.weight_error * float(spread.max(initial=0.0)) + layer.bias_error
        rows, constants = weight @ rows, weight @ constants + layer.bias
        if depth == len(layers) - 1:
            break
        low, up = intervals[depth]
        free = np.flatnonzero((low < 0) & (up > 0))
        parts.append(_Affine(rows[free], constants[free], error[free]))
        active = (low >= 0).astype(np.float64)
        active[free] = np.array(pattern[used : used + len(free)], dtype=np.float64)
        used += len(free)
        rows, constants, error = rows * active[:, None], constants * active, error * active
    neurons = _Affine(
        np.concatenate([part.rows for part in parts]) if parts else np.zeros((0, size)),
        np.concatenate([part.constants for part in parts]) if parts else np.zeros(0),
        np.concatenate([part.error for part in parts]) if parts else np.zeros(0),
    )
    places = list(others)
    spread = np.abs(rows).sum(axis=1) * reach + np.abs(constants)
    margins = _Affine(
        rows[label] - rows[places],
        constants[label] - constants[places],
        error[label] + error[places] + 8 * _UNIT * (spread[label] + spread[places]),
    )
    return _Region(neurons, margins)


@dataclass(frozen=True)
class _Box:
    """z in [lower, upper], and the centre x of the ball."""

    x: Vector
    lower: Vector
    upper: Vector

    def distance(self, g: Vector, h: Vector, enough: float, rows: int) -> tuple[float, Vector]:
        """(lower bound of |z - x|^2 / 2 over the box points with g z <= h, the optimiser's z).

        Stops once the bound exceeds `enough`.
        """
        from scipy.optimize import minimize

        def negative(m: Vector) -> tuple[float, Vector]:
            z = np.clip(self.x - m @ g, self.lower, self.upper)
            step, slack = z - self.x, g @ z - h
            return -(0.5 * float(step @ step) + float(m @ slack)), -slack

        m = np.zeros(rows)
        found = minimize(negative, m, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * rows,
                         options={"maxiter": 200, "ftol": 1e-13, "gtol": 1e-10})  # fmt: skip
        m = np.maximum(found.x, 0.0)
        bound = self.dual(g, h, m)
        if bound <= enough and not found.success:
            # an empty set: the dual is unbounded along some direction
            bound = max([bound, *(self.dual(g, h, scale * m) for scale in (10.0, 1e3, 1e5))])
        return bound, np.clip(self.x - m @ g, self.lower, self.upper)

    def dual(self, g: Vector, h: Vector, m: Vector) -> float:
        """min over the box of |z - x|^2 / 2 + m (g z - h), rounded down.

        With q = m g as computed (each entry errs by e_j = gamma_n |m| |g|), the exact function at any z differs by
        sum e_j |z_j| at most; the minimum over the box of the computed one is evaluated coordinate by coordinate at
        the clipped stationary point, which may itself be off by rounding: that costs at most its squared error.
        """
        q = m @ g
        terms = len(m) + 4
        z = np.clip(self.x - q, self.lower, self.upper)
        step = z - self.x
        values = 0.5 * step * step + q * z
        size = np.maximum(np.abs(self.lower), np.abs(self.upper))
        error = 2 * terms * _UNIT * (np.abs(m) @ np.abs(g)) * size
        # the stationary point x - q is rounded once, clipping is exact
        off = 2 * _UNIT * (np.abs(self.x) + np.abs(q))
        slack = float(np.sum(error) + np.sum(off * off)) + 8 * _UNIT * float(np.sum(0.5 * step * step + np.abs(q * z)))
        products = m * h
        total = math.fsum(values) - math.fsum(products)
        slack += 4 * _UNIT * (math.fsum(np.abs(values)) + math.fsum(np.abs(products))) + 1e-300
        return math.nextafter(total - 1.01 * slack, -math.inf)
