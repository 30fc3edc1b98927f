"""Branch and bound on the input: boxes halved along the coordinate that matters most, bounded in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from verifiers.bounds import margin_bounds
from verifiers.bounds.inputs import Box
from verifiers.graph.graph import Graph

Witness = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class InputResult:
    """bound: proved lower bound of the least margin over all boxes; witness; boxes: bounded; left: open."""

    bound: float
    witness: Tensor | None
    boxes: int
    left: int


def search_boxes(
    graph: Graph, lower: Tensor, upper: Tensor, label: int, plan: str, witness: Witness, batch: int, deadline: Deadline
) -> InputResult:
    """Prove that `label` stays on top for every input of the box [lower, upper] (*shape, float64), or find a witness.

    plan: of `verifiers.bounds`, for every box. The two halves of a box share the cut, so that they cover it. Boxes
    with the highest bounds are split first, which keeps few of them open.
    """
    lowers, uppers, bounds = lower[None], upper[None], torch.full((1,), -torch.inf, dtype=torch.float64)
    proved, boxes, found = torch.inf, 0, None
    while len(bounds) and found is None and not deadline.expired():
        order = bounds.argsort(descending=True)
        now, later = order[:batch], order[batch:]
        low, up = (lowers[now], uppers[now]) if boxes == 0 else _halves(graph, lowers[now], uppers[now], label)
        parents = bounds[now] if boxes == 0 else bounds[now].repeat(2)
        try:
            margins = _bounds(graph, low, up, label, plan, deadline)
        except OutOfTime:
            break
        boxes += len(low)
        margins = torch.maximum(margins, parents)
        closed = margins > 0
        proved = min(proved, float(margins[closed].min())) if bool(closed.any()) else proved
        lowers = torch.cat([lowers[later], low[~closed]])
        uppers = torch.cat([uppers[later], up[~closed]])
        bounds = torch.cat([bounds[later], margins[~closed]])
        if bool((~closed).any()):
            found = witness((low[~closed] + up[~closed]) / 2)
    return InputResult(min(proved, float(bounds.min()) if len(bounds) else proved), found, boxes, len(bounds))


def _bounds(graph: Graph, lower: Tensor, upper: Tensor, label: int, plan: str, deadline: Deadline) -> Tensor:
    """The least margin (D,) of every box, rounded outward; the ball around the rounded centre covers the box."""
    centre = (lower + upper) / 2
    radius = torch.maximum(upper - centre, centre - lower)
    radius = torch.where(radius > 0, torch.nextafter(radius, radius.new_tensor(torch.inf)), radius)
    labels = torch.full((len(centre),), label)
    return margin_bounds(graph, centre, labels, Box(centre, radius), plan, deadline).amin(dim=1)


def _halves(graph: Graph, lower: Tensor, upper: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """Both halves of every box, (2 D, *shape), cut at the middle of the coordinate with the largest smear: gradient
    of the least margin at the centre times width (ReluVal, section 5.1, with a point instead of an interval)."""
    centre = (lower + upper) / 2
    with torch.enable_grad():
        point = centre.clone().requires_grad_(True)
        logits = graph.forward(point)
        others = logits.clone()
        others[:, label] = -torch.inf
        (gradient,) = torch.autograd.grad((logits[:, label] - others.amax(dim=1)).sum(), point)
    width = (upper - lower).flatten(1)
    # a little of the width alone, for boxes where the gradient vanishes
    smear = gradient.abs().flatten(1) * width
    smear = smear + (smear.amax(dim=1, keepdim=True) * 1e-3 + 1e-30) * width / width.amax(dim=1, keepdim=True)
    column = smear.argmax(dim=1)[:, None]
    cut = centre.flatten(1).gather(1, column)
    first = upper.flatten(1).scatter(1, column, cut).reshape(upper.shape)
    second = lower.flatten(1).scatter(1, column, cut).reshape(lower.shape)
    return torch.cat([lower, second]), torch.cat([first, upper])
