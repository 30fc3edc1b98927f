"""Product of operator norms: a global Lipschitz constant of every margin (Szegedy et al., 2014, section 4.3).

Nothing is relaxed per input: each affine layer moves its input by at most its operator norm, ReLU is 1-Lipschitz in
every l_p norm, branches of a residual sum add up. The last layer enters with the rows W_y - W_j in the dual norm, so
each margin has its own constant L_j and f_y - f_j >= (f_y - f_j)(x) - L_j radius. Sound for l_inf, l2 and l1 balls
and every operation of the graph; the input box is ignored. All norms are proved upper bounds, rounded up
(`verifiers.lipschitz.norms`), and the margin at x is rounded down. Costs one forward pass per input once the norms
are known.

Szegedy et al., Intriguing properties of neural networks, ICLR 2014; margins as in Tsuzuku et al., NeurIPS 2018.
"""

from __future__ import annotations

import math
from typing import ClassVar, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from sokbench.core.method import BoundingVerifier, MethodInfo
from sokbench.core.network import Network
from sokbench.core.problem import Ball
from verifiers.bounds import margin_bounds
from verifiers.bounds.rounding import gamma
from verifiers.graph import Graph, graph_of
from verifiers.graph.elementwise import Relu
from verifiers.graph.linear import Linear
from verifiers.graph.ops import Add, LinearOp

from .norms import operator_norm

_DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}

# constants of the graphs in use: the same for every input, and slow to find; forgotten together with the graph
_CONSTANTS: WeakKeyDictionary[Graph, dict[str, Tensor]] = WeakKeyDictionary()


@final
class OpNorm(BoundingVerifier):
    """Margins at the input minus their global Lipschitz constants times the radius."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="op_norm",
        title="Op-norm",
        kind="verifier",
        family="Lipschitz",
        norms=("linf", "l2", "l1"),
        summary="A global Lipschitz constant per margin: the product of proved upper bounds of operator norms.",
        paper="Szegedy et al., Intriguing properties of neural networks, ICLR 2014",
        url="https://arxiv.org/abs/1312.6199",
        uses_box=False,
    )

    def prepare(self, network: Network) -> None:
        """Bound the operator norms of all layers, for all norms."""
        for norm in self.info.norms:
            pairwise_constants(graph_of(network), norm)

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        """See `BoundingVerifier.margins`."""
        self.check_norm(ball)
        graph = graph_of(network)
        constants = pairwise_constants(graph, ball.norm)[labels.long().cpu()]
        clean = margin_bounds(graph, x, labels, Ball("linf", 0.0), "ibp", deadline)
        lost = constants * ball.radius * (1.0 + gamma(4))
        below = torch.nextafter(clean - lost, torch.full_like(clean, -math.inf))
        return torch.where(clean == math.inf, clean, below)  # j = y


def pairwise_constants(graph: Graph, norm: str) -> Tensor:
    """Upper bounds (C, C) of the Lipschitz constants of f_i - f_j with respect to an l_p norm; kept per graph."""
    known = _CONSTANTS.setdefault(graph, {})
    if norm not in known:
        known[norm] = _pairwise(graph, norm)
    return known[norm]


def _pairwise(graph: Graph, norm: str) -> Tensor:
    last = graph.nodes[-1]
    if isinstance(last.op, Linear):
        rows, source = last.op.weight, last.inputs[0]
        count = last.op.terms + last.op.rounded
    else:
        rows, source, count = torch.eye(graph.num_classes, dtype=torch.float64), graph.output, 1
    differences = rows[:, None] - rows[None]
    # weights that are roundings away from the network's own: |W_i| + |W_j| bounds what a difference may have lost
    lost = gamma(count + 8) * torch.linalg.vector_norm(rows.abs()[:, None] + rows.abs()[None], ord=1, dim=2)
    dual: Tensor = torch.linalg.vector_norm(differences, ord=_DUAL[norm], dim=2)
    constants: Tensor = (dual + lost) * (lipschitz(graph, source, norm) * (1.0 + gamma(count + 8)))
    return constants


def lipschitz(graph: Graph, index: int, norm: str) -> float:
    """At least the Lipschitz constant of node `index` as a function of the input, from l_p to l_p."""
    constants = [1.0]
    for position, node in enumerate(graph.nodes[1 : index + 1], start=1):
        before = [constants[source] for source in node.inputs]
        if isinstance(node.op, LinearOp):
            constants.append(before[0] * operator_norm(graph, position, norm) * (1.0 + gamma(1)))
        elif isinstance(node.op, Add):
            constants.append((before[0] + before[1]) * (1.0 + gamma(1)))
        elif isinstance(node.op, Relu):
            constants.append(before[0])
        else:
            raise Unsupported(f"no Lipschitz constant of {node.op.name} at {node.label!r}")
    return constants[index]
