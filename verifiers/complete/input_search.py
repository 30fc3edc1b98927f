"""Branch and bound on the input: boxes halved along the coordinate that matters most, bounded in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from verifiers.bounds import margin_bounds
from verifiers.bounds.inputs import Box
from verifiers.bounds.optimized import Start
from verifiers.bounds.optimized_bounds import Relaxed
from verifiers.bounds.optimized_boxes import BoxBounds
from verifiers.graph.graph import Graph

Witness = Callable[[Tensor], Tensor | None]
Bounder = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(lower, upper) (D, *shape) of boxes -> (lower bounds of their least margins (D,), influence (D, *shape): how fast the
margin changes along each coordinate). May raise `OutOfTime`."""


@dataclass(frozen=True)
class InputResult:
    """bound: proved lower bound of the least margin over all boxes; witness; boxes: bounded; left: open."""

    bound: float
    witness: Tensor | None
    boxes: int
    left: int


@dataclass(frozen=True)
class _Boxes:
    """D boxes: lower, upper, influence (D, *shape); bound (D,)."""

    lower: Tensor
    upper: Tensor
    influence: Tensor
    bound: Tensor

    def take(self, rows: Tensor) -> _Boxes:
        return _Boxes(self.lower[rows], self.upper[rows], self.influence[rows], self.bound[rows])

    def join(self, other: _Boxes) -> _Boxes:
        return _Boxes(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def search_boxes(
    lower: Tensor, upper: Tensor, bounder: Bounder, witness: Witness, batch: int, deadline: Deadline
) -> InputResult:
    """Prove that the least margin is positive on the box [lower, upper] (*shape, float64), or find a witness.

    The two halves of a box share the cut, so that they cover it. Boxes with the highest bounds are split first, which
    keeps few of them open.
    """
    bound, influence = bounder(lower[None], upper[None])
    open_ = _Boxes(lower[None], upper[None], influence, bound).take((bound <= 0).nonzero().squeeze(1))
    proved, boxes, found = float(bound[0]) if bound[0] > 0 else torch.inf, 1, None
    while len(open_.bound) and found is None and not deadline.expired():
        order = open_.bound.argsort(descending=True)
        parents, rest = open_.take(order[:batch]), open_.take(order[batch:])
        low, up = _halves(parents)
        try:
            bound, influence = bounder(low, up)
        except OutOfTime:
            break
        boxes += len(low)
        bound = torch.maximum(bound, parents.bound.repeat(2))
        closed = bound > 0
        proved = min(proved, float(bound[closed].min())) if bool(closed.any()) else proved
        left = _Boxes(low, up, influence, bound).take((~closed).nonzero().squeeze(1))
        open_ = rest.join(left)
        if len(left.bound):
            found = witness((left.lower + left.upper) / 2)
    least = min(proved, float(open_.bound.min())) if len(open_.bound) else proved
    return InputResult(least, found, boxes, len(open_.bound))


def box_bounder(root: Relaxed, start: Start) -> Bounder:
    """Bounds of ReLU networks: CROWN for all boxes at once; the influence is that of the least row's bound."""
    bounds = BoxBounds(root)

    def bounded(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found, rows = bounds.lower(start, lower, upper)
            least, which = found.min(dim=1)
            return least, rows[torch.arange(len(which)), which].abs()

    return bounded


def engine_bounder(graph: Graph, label: int, deadline: Deadline) -> Bounder:
    """Bounds of any network, by the ordinary engine; the influence is the gradient at the centre."""

    def bounded(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        centre = (lower + upper) / 2
        radius = torch.maximum(upper - centre, centre - lower)
        radius = torch.where(radius > 0, torch.nextafter(radius, radius.new_tensor(torch.inf)), radius)
        labels = torch.full((len(centre),), label)
        margins = margin_bounds(graph, centre, labels, Box(centre, radius), "crown", deadline).amin(dim=1)
        with torch.enable_grad():
            point = centre.clone().requires_grad_(True)
            logits = graph.forward(point)
            others = logits.scatter(1, labels[:, None], -torch.inf)
            (gradient,) = torch.autograd.grad((logits[:, label] - others.amax(dim=1)).sum(), point)
        return margins, gradient.abs()

    return bounded


def _halves(boxes: _Boxes) -> tuple[Tensor, Tensor]:
    """Both halves of every box, (2 D, *shape), cut at the middle of the coordinate with the largest smear: influence
    times width (ReluVal, section 5.1)."""
    width = (boxes.upper - boxes.lower).flatten(1)
    smear = boxes.influence.flatten(1) * width
    # a little of the width alone, for boxes where the influence vanishes
    share = width / width.amax(dim=1, keepdim=True).clamp(min=torch.finfo(width.dtype).tiny)
    smear = smear + (smear.amax(dim=1, keepdim=True) * 1e-3 + 1e-30) * share
    column = smear.argmax(dim=1)[:, None]
    cut = ((boxes.lower + boxes.upper) / 2).flatten(1).gather(1, column)
    first = boxes.upper.flatten(1).scatter(1, column, cut).reshape(boxes.upper.shape)
    second = boxes.lower.flatten(1).scatter(1, column, cut).reshape(boxes.lower.shape)
    return torch.cat([boxes.lower, second]), torch.cat([first, boxes.upper])
