"""Margins for certified training: differentiable in the weights and the input, in the network's own precision, no
certificate. The graph is `verifiers.graph.trace(module, input_shape)`, made once: it holds the module's live
parameters."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

from .plans import Plan, plan_of
from .propagation import margins, other_classes, run
from .relaxations.relu import INTERVAL, Relaxation
from .rounding import Nearest
from .sets.inputs import Box, InputSet

_ALL_AT_ONCE = 1 << 62  # the tape keeps all rows anyway


def training_margins(graph: Graph, inputs: InputSet, labels: Tensor, plan: str | Plan) -> Tensor:
    """Lower bounds (B, C) of f_y - f_j over any input sets by any plan of back-substitution; 0 at j = y.

    As `verifiers.bounds.margin_bounds` but not rounded. Raises `Unsupported` for plans that carry bounds forward.
    """
    chosen = plan_of(plan)
    relaxations = [INTERVAL] if chosen.relaxation is None else [INTERVAL, chosen.relaxation]
    return torch.stack(_margins(graph, inputs, labels, chosen, relaxations)).amax(dim=0)


def ibp_margins(
    graph: Graph, x: Tensor, labels: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None
) -> Tensor:
    """Interval lower bounds (B, C) of f_y - f_j over l_inf balls cut with [low, high]; 0 at j = y.

    Negated, the margins are logits for the robust cross-entropy of Gowal et al. (2018).
    """
    return training_margins(graph, Box(x, radius, low, high), labels, "ibp")


def crown_ibp_margins(
    graph: Graph, x: Tensor, labels: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None
) -> tuple[Tensor, Tensor]:
    """(interval margins, CROWN-IBP margins), each (B, C) as in `ibp_margins`, from one interval pass.

    CROWN-IBP training mixes them: (1 - beta) interval + beta CROWN-IBP (Zhang et al., 2020, section 3).
    """
    plan = plan_of("crown_ibp")
    relaxation = plan.relaxation or INTERVAL
    interval, linear = _margins(graph, Box(x, radius, low, high), labels, plan, [INTERVAL, relaxation])
    return interval, linear


def _margins(graph: Graph, inputs: InputSet, labels: Tensor, plan: Plan, relaxations: list[Relaxation]) -> list[Tensor]:
    if plan.domain is not None:
        raise Unsupported("margins for training are computed by back-substitution, not carried forward")
    graph = graph.in_type(inputs.interval().lower.dtype)
    magnitudes = tuple(node.op.magnitude() if isinstance(node.op, LinearOp) else None for node in graph.nodes)
    bounds, _ = run(graph, inputs, replace(plan, chunk_bytes=_ALL_AT_ONCE), Nearest(), magnitudes, Deadline())
    places = other_classes(labels, graph.num_classes)
    found = [margins(bounds, labels, relaxation, _ALL_AT_ONCE) for relaxation in relaxations]
    return [each.new_zeros(len(labels), graph.num_classes).scatter(1, places, each) for each in found]
