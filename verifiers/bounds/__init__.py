"""Bound propagation over network graphs: what the linear methods publish and other methods start from.

A plan (`plans`) is run by `propagation`: intervals (`interval`) node by node, and rows on their way back to the input
(`backward`; `targets` and `frames` say which), with what they lose to rounding (`rounding`). `sets` are what inputs
may be, `relaxations` lines around nonlinear operations, `forward` bounds that are carried forward, `optimized` those
whose lines are chosen by ascent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.network import Network
from sokbench.core.problem import Ball
from verifiers.graph.graph import Graph

from .forward.walk import run_forward
from .plans import Plan, plan_of
from .propagation import margins, run
from .relaxations.relu import INTERVAL
from .request import bounding_graph, checked_inputs, checked_labels, full_margins, rigorous
from .rounding import Outward
from .sets.inputs import InputSet, Interval
from .state import Bounds

__all__ = ["NodeBounds", "Plan", "bounds", "margin_bounds", "preactivation_bounds", "prepare", "run_plan"]


class NodeBounds(NamedTuple):
    """Bounds of one node of a network's graph: lower and upper (B, *shape); label: its name in the module or file."""

    label: str
    operation: str
    lower: Tensor
    upper: Tensor


def prepare(network: Network, method: str | Plan = "crown") -> None:
    """Trace `network` and compute the constants of its graph that every bound by `method` needs."""
    graph = bounding_graph(network, plan_of(method))
    _ = graph.magnitudes, graph.gains


def bounds(network: Network, x: Tensor, ball: Ball | InputSet, method: str | Plan = "crown") -> list[NodeBounds]:
    """Bounds of every node of the network's graph, from the input to the logits, by a plan of `verifiers.bounds.plans`.

    x: (B, *input_shape). float64, outward rounded; -inf and inf where nothing is known. Every entry of every node is
    bounded by back-substitution (where the plan has it), so this costs more than margins, which need only some.
    Raises as `preactivation_bounds`.
    """
    plan = plan_of(method)
    graph = bounding_graph(network, plan)
    with rigorous():
        found, _, _ = run_plan(graph, checked_inputs(graph, x, ball), plan, Deadline(), everywhere=True)
        pairs = zip(graph.nodes, map(_known, found.intervals), strict=True)
        return [NodeBounds(node.label, node.op.name, *interval) for node, interval in pairs]


def run_plan(
    graph: Graph,
    inputs: InputSet,
    plan: Plan,
    deadline: Deadline,
    labels: Tensor | None = None,
    everywhere: bool = False,
) -> tuple[Bounds, Tensor | None, bool]:
    """(bounds, margins if `labels` are given to a plan that finds them on its way, whether all of it was done)."""
    if plan.domain is not None:
        return run_forward(graph, inputs, plan, deadline, labels, everywhere)
    found, complete = run(graph, inputs, plan, Outward(), graph.magnitudes, deadline, everywhere)
    return found, None, complete


def _known(interval: Interval) -> Interval:
    """NaN, which stands for "no bound", as an infinite bound."""
    return Interval(interval.lower.nan_to_num(-torch.inf, torch.inf), interval.upper.nan_to_num(torch.inf, torch.inf))


def preactivation_bounds(
    graph: Graph,
    x: Tensor,
    ball: Ball | InputSet,
    plan: str | Plan = "crown",
    deadline: Deadline = Deadline(),  # noqa: B008
) -> list[tuple[Tensor, Tensor]]:
    """Lower and upper bounds of the input of every ReLU, in order, each (B, *node shape), float64.

    x: (B, *input_shape). The bounds hold in real arithmetic for every input in the ball around x.
    ball: or any input set, in float64, around x.
    Raises `Unsupported` for l0 balls without a box and operations without bounds, `InvalidInput` for inputs of the
    wrong shape, outside the box or not finite, `OutOfTime` when `deadline` passes.
    """
    with rigorous():
        found, _, complete = run_plan(graph, checked_inputs(graph, x, ball), plan_of(plan), deadline)
        if not complete:
            raise OutOfTime
        return [_known(found.intervals[graph.nodes[index].inputs[0]]) for index in graph.relus]


def margin_bounds(
    graph: Graph,
    x: Tensor,
    labels: Tensor,
    ball: Ball | InputSet,
    plan: str | Plan = "crown",
    deadline: Deadline = Deadline(),  # noqa: B008
) -> Tensor:
    """Lower bounds (B, C) of f_y - f_j over the ball around each input, float64 on the graph's device; +inf at j = y.

    x: (B, *input_shape); labels: (B,). The bounds hold in real arithmetic. They are never below interval bounds.
    Raises as `preactivation_bounds`; `OutOfTime` carries the bounds that intervals give for what was left undone.
    """
    with rigorous():
        chosen, inputs = plan_of(plan), checked_inputs(graph, x, ball)
        labels = checked_labels(graph, x, labels)
        known, found, complete = run_plan(graph, inputs, chosen, deadline, labels if chosen.forward else None)
        if found is None and chosen.relaxation is not None and complete:
            found = margins(known, labels, chosen.relaxation, chosen.chunk_bytes)
        by_intervals = margins(known, labels, INTERVAL, chosen.chunk_bytes)
        found = by_intervals if found is None else torch.fmax(found, by_intervals)
        full = full_margins(found, labels, graph.num_classes)
        if not complete:
            raise OutOfTime(full)
        return full
