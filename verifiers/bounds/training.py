"""Margins for certified training: differentiable in the weights, in the network's own precision, no certificate."""

from __future__ import annotations

from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

from .inputs import Box
from .plans import PLANS, Plan
from .propagation import margins, other_classes, run
from .relaxations import INTERVAL, Relaxation
from .rounding import Nearest

_ALL_AT_ONCE = 1 << 62  # the tape keeps all rows anyway


def ibp_margins(
    graph: Graph, x: Tensor, labels: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None
) -> Tensor:
    """Interval lower bounds (B, C) of f_y - f_j over l_inf balls cut with [low, high]; 0 at j = y.

    graph: `verifiers.graph.trace(module, input_shape)`, made once: it holds the module's live parameters.
    Negated, the margins are logits for the robust cross-entropy of Gowal et al. (2018).
    """
    return _margins(graph, x, labels, Box(x, radius, low, high), PLANS["ibp"], [INTERVAL])[0]


def crown_ibp_margins(
    graph: Graph, x: Tensor, labels: Tensor, radius: float | Tensor, low: float | None = None, high: float | None = None
) -> tuple[Tensor, Tensor]:
    """(interval margins, CROWN-IBP margins), each (B, C) as in `ibp_margins`, from one interval pass.

    CROWN-IBP training mixes them: (1 - beta) interval + beta CROWN-IBP (Zhang et al., 2020, section 3).
    """
    plan = PLANS["crown_ibp"]
    relaxation = plan.relaxation or INTERVAL
    interval, linear = _margins(graph, x, labels, Box(x, radius, low, high), plan, [INTERVAL, relaxation])
    return interval, linear


def _margins(
    graph: Graph, x: Tensor, labels: Tensor, box: Box, plan: Plan, relaxations: list[Relaxation]
) -> list[Tensor]:
    magnitudes = tuple(node.op.magnitude() if isinstance(node.op, LinearOp) else None for node in graph.nodes)
    bounds, _ = run(graph, box, plan, Nearest(), magnitudes, Deadline())
    classes = graph.num_classes
    places = other_classes(labels, classes)
    zeros = x.new_zeros(len(labels), classes)
    return [zeros.scatter(1, places, margins(bounds, labels, one, _ALL_AT_ONCE)) for one in relaxations]
