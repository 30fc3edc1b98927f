"""Branch and bound on the input: boxes halved along the coordinate that matters most, bounded in batches.

Every box keeps the bounds of its hidden neurons and of its margins, which hold in its halves too: what is stable or
proved in a box is never asked again below it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from verifiers.bounds import margin_bounds
from verifiers.bounds.optimized.many_boxes import BoxResult, ManyBoxes
from verifiers.bounds.optimized.relaxed import Relaxed
from verifiers.bounds.optimized.sweep import Start
from verifiers.bounds.relaxations.relu import ADAPTIVE, Relaxation
from verifiers.bounds.sets.inputs import Box, Interval
from verifiers.graph.graph import Graph

from ..proofs.boxes import BoxTree

Witness = Callable[[Tensor], Tensor | None]
"""Inputs (P, *shape) -> a counterexample among them, or None."""

_FINEST = 24  # halvings per coordinate, in the mean, after which a box is too small to be worth another
_BYTES = 1 << 30  # of open boxes, beyond which the search goes deep first, so that they hardly grow


@dataclass(frozen=True)
class Boxes:
    """D boxes. lower, upper: (D, *shape); known: (D, K) bounds of the margins; depth: (D,) how often they were halved;
    node: (D,) of the tree; hidden: bounds of the input of every ReLU, (D, ...) by node of the graph (none where no one
    uses them)."""

    lower: Tensor
    upper: Tensor
    known: Tensor
    depth: Tensor
    node: Tensor
    hidden: dict[int, Interval]

    @staticmethod
    def root(hull: Interval, known: Tensor, hidden: dict[int, Interval]) -> Boxes:
        """hull: (1, *shape); known: (K,); hidden: (1, ...)."""
        zero = torch.zeros(1, dtype=torch.long)
        return Boxes(*hull, known[None], zero, zero, hidden)

    @property
    def least(self) -> Tensor:
        """(D,)"""
        return self.known.amin(dim=1)

    def take(self, rows: Tensor) -> Boxes:
        hidden = {index: Interval(*(side[rows] for side in sides)) for index, sides in self.hidden.items()}
        return Boxes(self.lower[rows], self.upper[rows], self.known[rows], self.depth[rows], self.node[rows], hidden)

    def join(self, other: Boxes) -> Boxes:
        hidden = {
            index: Interval(*(torch.cat(pair) for pair in zip(sides, other.hidden[index], strict=True)))
            for index, sides in self.hidden.items()
        }
        ours, theirs = ((b.lower, b.upper, b.known, b.depth, b.node) for b in (self, other))
        lower, upper, known, depth, node = (torch.cat(pair) for pair in zip(ours, theirs, strict=True))
        return Boxes(lower, upper, known, depth, node, hidden)

    def bytes(self) -> int:
        """What all of them take up."""
        tensors = [self.lower, self.upper, self.known, *(side for sides in self.hidden.values() for side in sides)]
        return sum(8 * tensor.numel() for tensor in tensors)


Bounder = Callable[[Boxes], BoxResult]
"""Better bounds of boxes, and their influence. May raise `OutOfTime`."""


@dataclass(frozen=True)
class InputResult:
    """bound: proved lower bound of the least margin over all boxes; witness; boxes: how many were bounded; left: how
    many are open; stuck: whether the search gave up at a box that is too small to be halved; tree: of all boxes."""

    bound: float
    witness: Tensor | None
    boxes: int
    left: int
    stuck: bool
    tree: BoxTree


def search_boxes(root: Boxes, bounder: Bounder, witness: Witness, batch: int, deadline: Deadline) -> InputResult:
    """Prove that all margins are positive on the box `root`, or find a witness.

    The two halves of a box share the cut, so that they cover it.
    """
    finest = _FINEST * int((root.lower < root.upper).sum())
    open_, proved, boxes, stuck, found, tree = root, torch.inf, 0, False, None, BoxTree()
    while len(open_.lower) and found is None and not stuck and not deadline.expired():
        some, rest = _next(open_, batch)
        try:
            result = bounder(some)
        except OutOfTime:
            break
        boxes += len(some.lower)
        some = replace(some, known=torch.maximum(some.known, result.bounds), hidden=result.hidden)
        if result.shown is not None:
            tree.show(some.node, result.shown)
        closed = some.least > 0
        proved = min(proved, float(some.least[closed].min())) if bool(closed.any()) else proved
        left = (~closed).nonzero().squeeze(1)
        if len(left):
            some = some.take(left)
            found = witness(torch.cat([(some.lower + some.upper) / 2, result.points[left]]))
            stuck = int(some.depth.max()) >= finest
            some = some if stuck else _halves(some, result.influence[left], tree)
            rest = rest.join(some)
        open_ = rest
    least = min(proved, float(open_.least.min())) if len(open_.lower) else proved
    return InputResult(least, found, boxes, len(open_.lower), stuck, tree)


def _next(open_: Boxes, batch: int) -> tuple[Boxes, Boxes]:
    """(boxes to bound, the rest): half of them with the highest bounds, nearly closed, and half with the lowest, where
    witnesses are likely; the deepest alone where open boxes take up much memory, for then they become fewer."""
    if open_.bytes() > _BYTES:
        order = open_.depth.argsort(descending=True, stable=True)
    else:
        order = open_.least.argsort(descending=True, stable=True)
        order = order.roll(batch // 2) if len(order) > batch else order
    return open_.take(order[:batch]), open_.take(order[batch:])


def box_bounder(
    state: Relaxed, start: Start, deadline: Deadline, relaxation: Relaxation = ADAPTIVE, keep: bool = False
) -> Bounder:
    """Bounds of ReLU networks on parts of the input set of `state`: `verifiers.bounds.optimized.many_boxes`. keep: what
    shows positive bounds, for a proof."""
    bounds = ManyBoxes(state.graph, state.exact.inputs.interval(), state.bounds, start, relaxation, keep)

    def bounded(some: Boxes) -> BoxResult:
        return bounds.bound(some.lower, some.upper, some.hidden, some.known, deadline)

    return bounded


def engine_bounder(graph: Graph, label: int, deadline: Deadline) -> Bounder:
    """Bounds of any network, by the ordinary engine; the influence is the gradient at the centre times the width
    (ReluVal, section 5.1)."""
    others = torch.arange(graph.num_classes) != label

    def bounded(some: Boxes) -> BoxResult:
        centre = (some.lower + some.upper) / 2
        radius = torch.maximum(some.upper - centre, centre - some.lower)
        radius = torch.where(radius > 0, torch.nextafter(radius, radius.new_tensor(torch.inf)), radius)
        labels = torch.full((len(centre),), label)
        margins = margin_bounds(graph, centre, labels, Box(centre, radius), "crown", deadline)[:, others]
        with torch.enable_grad():
            point = centre.clone().requires_grad_(True)
            logits = graph.forward(point)
            (gradient,) = torch.autograd.grad((logits[:, label] - logits[:, others].amax(dim=1)).sum(), point)
        return BoxResult(margins, gradient.abs() * (some.upper - some.lower), centre, {})

    return bounded


def _halves(boxes: Boxes, influence: Tensor, tree: BoxTree) -> Boxes:
    """Both halves of every box, cut at the middle of the coordinate with the largest influence (D, *shape)."""
    width = (boxes.upper - boxes.lower).flatten(1)
    # a little of the width alone, for boxes where the influence vanishes
    share = width / width.amax(dim=1, keepdim=True).clamp(min=torch.finfo(width.dtype).tiny)
    weight = influence.flatten(1)
    weight = weight + (weight.amax(dim=1, keepdim=True) * 1e-3 + 1e-30) * share
    column = weight.argmax(dim=1)[:, None]
    cut = ((boxes.lower + boxes.upper) / 2).flatten(1).gather(1, column)
    below = boxes.upper.flatten(1).scatter(1, column, cut).reshape(boxes.upper.shape)
    above = boxes.lower.flatten(1).scatter(1, column, cut).reshape(boxes.lower.shape)
    twice = boxes.take(torch.arange(len(cut)).repeat(2))
    lower, upper = torch.cat([boxes.lower, above]), torch.cat([below, boxes.upper])
    node = tree.split(boxes.node, column[:, 0], cut[:, 0])
    return Boxes(lower, upper, twice.known, twice.depth + 1, node, twice.hidden)
