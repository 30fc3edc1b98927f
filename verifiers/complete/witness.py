"""Counterexamples from points that a relaxation or a solver suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sokbench.core.evaluation import judge_witness, least_margin
from verifiers.attacks.descent import attacked_margins, descend
from verifiers.attacks.geometry import project
from verifiers.graph.readers.module import GraphModule
from verifiers.graph.rewriting.reduction import has_maxima, softened

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from sokbench.core.problem import Problem
    from verifiers.graph.graph import Graph
    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.safe_bound import Vector

_NEAR = 1e-5
_LEAST_RESTARTS = 10  # a property reduced to two classes deserves as many as ten classes do


@dataclass(frozen=True)
class Effort:
    """An attack: steps, of which the first has the length `first` in units of the radius, each other one `decay` of
    the one before; momentum of the directions."""

    steps: int
    first: float
    decay: float
    momentum: float


SHORT = Effort(20, 0.5, 0.85, 0.0)
# where two classes are level along the way, descent with momentum came 0.15 lower than without in as many steps
LONG = Effort(100, 1.0, 0.955, 0.75)
# of soft maxima, from the first step to the last, in units of the margin that the descent starts with
_HOT, _COLD = 1.0, 0.02


class _Annealed:
    """The logits of a property's network with soft maxima that harden from call to call. Where an input has to reach
    below several rows at once, descent on the largest of them alone goes back and forth between two."""

    def __init__(self, graph: Graph, scale: float, steps: int) -> None:
        self._graph = graph
        self._temperatures = iter(scale * _HOT * (_COLD / _HOT) ** (step / steps) for step in range(steps + 1))
        self._coldest = scale * _COLD

    def __call__(self, points: Tensor) -> Tensor:
        return softened(self._graph, next(self._temperatures, self._coldest)).forward(points)


class WitnessFinder:
    """Judges suggested inputs of one problem. What it returns has the type of the problem's input, lies in the
    ball and the box in that type, and is misclassified by the network in float64."""

    def __init__(self, problem: Problem, layers: list[AffineLayer] | None = None) -> None:
        """layers: the network as a chain, for judging single points fast; None for any network."""
        self._problem = problem
        self._layers = layers

    def at(self, point: Vector) -> Tensor | None:
        """A counterexample at `point` (n,), moved into the ball where it sticks out by rounding; None if none."""
        if not np.isfinite(point).all() or not self._worth_judging(point):
            return None
        return self._judged(self._in_ball(point))

    def among(self, points: Tensor) -> Tensor | None:
        """A counterexample at one of `points` (P, *shape), judged in the network's own precision first."""
        problem = self._problem
        with torch.no_grad():
            logits = problem.network(points.float())
        margins = least_margin(logits, torch.full((len(points),), problem.label))
        lowest = int(margins.argmin())
        if not float(margins[lowest]) <= _NEAR * (1.0 + float(logits[lowest].abs().max())):
            return None
        return self._judged(self._in_ball(points[lowest].double().numpy().ravel()))

    def attack(self, deadline: Deadline, effort: Effort = SHORT) -> Tensor | None:
        """A counterexample found by descents towards every other class; None if none."""
        problem = self._problem
        x, labels = problem.x.float()[None], torch.tensor([problem.label])
        restarts, sizes = max(_LEAST_RESTARTS, problem.network.num_classes), self._step_sizes(effort)
        # to the first point that the network misclassifies; where float64 does not confirm that one, to the end
        for stop_below in (0.0, -math.inf):
            logits_of = self._descended(effort)
            with torch.enable_grad():
                found, margins = attacked_margins(
                    logits_of, x, labels, problem.ball, sizes, restarts, 0, deadline, effort.momentum, stop_below
                )
            witness = self._judged(self._in_ball(found[0].double().numpy().ravel()))
            if witness is not None or not float(margins[0]) < 0:
                return witness
        return None

    def near(self, points: list[Vector], deadline: Deadline) -> Tensor | None:
        """A counterexample found by a short descent of the margin from `points`; None if none."""
        usable = [self._in_ball(point).float() for point in points if np.isfinite(point).all()]
        if not usable:
            return None
        problem, count = self._problem, len(usable)
        x = problem.x.float()[None].repeat(count, *[1] * problem.x.dim())
        labels, starts = torch.full((count,), problem.label), torch.stack(usable)
        found, margins = descend(
            problem.network, starts, x, labels, problem.ball, self._step_sizes(SHORT), deadline=deadline
        )
        return self._judged(self._in_ball(found[int(margins.argmin())].double().numpy().ravel()))

    def _descended(self, effort: Effort) -> Callable[[Tensor], Tensor]:
        """What a descent is to lower: the network's margins or, at length, soft ones where a property joins rows."""
        network = self._problem.network
        if effort is not LONG or not isinstance(network.module, GraphModule):
            return network
        graph = network.module.graph()
        if not has_maxima(graph):
            return network
        with torch.no_grad():
            logits = network(self._problem.x.float()[None])
        margin = least_margin(logits, torch.tensor([self._problem.label]))
        return _Annealed(graph, max(float(margin), 1e-6), effort.steps)

    def _step_sizes(self, effort: Effort) -> list[float]:
        return [self._problem.ball.radius * effort.first * effort.decay**step for step in range(effort.steps)]

    def _judged(self, candidate: Tensor) -> Tensor | None:
        valid, _ = judge_witness(self._problem, candidate)
        return candidate if valid else None

    def _in_ball(self, point: Vector) -> Tensor:
        x = self._problem.x
        candidate = torch.tensor(point).to(x.dtype).reshape(x.shape)
        return project(candidate[None], x[None], self._problem.ball)[0]

    def _worth_judging(self, point: Vector) -> bool:
        """A cheap filter: whether the margin at `point` is so low that rounding could bring it below zero."""
        if self._layers is None:
            return True
        value = point
        for layer in self._layers[:-1]:
            value = np.maximum(layer.weight @ value + layer.bias, 0.0)
        logits = self._layers[-1].weight @ value + self._layers[-1].bias
        margin = logits[self._problem.label] - np.delete(logits, self._problem.label).max()
        return bool(margin <= _NEAR * (1.0 + np.abs(logits).max()))
