"""Bound propagation over network graphs: what the linear methods publish and other methods start from."""

from __future__ import annotations

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.errors import InvalidInput
from sokbench.core.network import Network
from sokbench.core.problem import Ball, check_inputs
from verifiers.graph import graph_of
from verifiers.graph.graph import Graph

from .inputs import InputSet, input_set
from .plans import Plan, plan_of
from .propagation import margins, other_classes, run
from .relaxations import INTERVAL
from .rounding import Outward

__all__ = ["Plan", "margin_bounds", "preactivation_bounds", "prepare"]


def prepare(network: Network) -> None:
    """Trace `network` and compute the constants of its graph that every bound needs."""
    graph = graph_of(network)
    _ = graph.magnitudes, graph.row_sums


def _inputs(graph: Graph, x: Tensor, ball: Ball) -> InputSet:
    if tuple(x.shape[1:]) != graph.input_shape:
        raise InvalidInput(f"the inputs have shape {tuple(x.shape)}, the network expects (B, *{graph.input_shape})")
    check_inputs(x, ball)
    return input_set(x.detach().double().cpu(), ball)


def preactivation_bounds(
    graph: Graph,
    x: Tensor,
    ball: Ball,
    plan: str | Plan = "crown",
    deadline: Deadline = Deadline(),  # noqa: B008
) -> list[tuple[Tensor, Tensor]]:
    """Lower and upper bounds of the input of every ReLU, in order, each (B, *node shape), float64.

    x: (B, *input_shape). The bounds hold in real arithmetic for every input in the ball around x.
    Raises `Unsupported` for l0 balls and operations without bounds, `InvalidInput` for inputs of the wrong shape,
    outside the box or not finite, `OutOfTime` when `deadline` passes.
    """
    with torch.no_grad():
        bounds, complete = run(graph, _inputs(graph, x, ball), plan_of(plan), Outward(), graph.magnitudes, deadline)
        if not complete:
            raise OutOfTime
        found = (bounds.intervals[graph.nodes[index].inputs[0]] for index in graph.relus)
        # NaN stands for "no bound"
        return [(low.nan_to_num(-torch.inf, torch.inf), up.nan_to_num(torch.inf, torch.inf)) for low, up in found]


def margin_bounds(
    graph: Graph,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    plan: str | Plan = "crown",
    deadline: Deadline = Deadline(),  # noqa: B008
) -> Tensor:
    """Lower bounds (B, C) of f_y - f_j over the ball around each input, float64; +inf at j = y.

    x: (B, *input_shape); labels: (B,). The bounds hold in real arithmetic. They are never below interval bounds.
    Raises as `preactivation_bounds`; `OutOfTime` carries the bounds that intervals give for what was left undone.
    """
    with torch.no_grad():
        chosen, inputs, labels = plan_of(plan), _inputs(graph, x, ball), labels.long().cpu()
        if labels.shape != x.shape[:1] or not bool(((labels >= 0) & (labels < graph.num_classes)).all()):
            raise InvalidInput(
                f"{x.shape[0]} labels from 0 to {graph.num_classes - 1} are expected, not {labels.tolist()}"
            )
        bounds, complete = run(graph, inputs, chosen, Outward(), graph.magnitudes, deadline)
        found = margins(bounds, labels, INTERVAL, chosen.chunk_bytes)
        if chosen.relaxation is not None and complete:
            found = torch.fmax(found, margins(bounds, labels, chosen.relaxation, chosen.chunk_bytes))
        found = torch.where(found.isnan(), -torch.inf, found)
        full = found.new_full((len(labels), graph.num_classes), torch.inf)
        full = full.scatter(1, other_classes(labels, graph.num_classes), found)
        if not complete:
            raise OutOfTime(full)
        return full
