"""A smaller network that is the same function on the input set: neurons that are never active are taken out.

Where u <= 0 a ReLU is 0 on the whole set, so its row in the linear layer before and its column in the one after can
go. Exact in real arithmetic, because the bounds are. Done between dense layers; other operations stay as they are.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.linear import Linear

from ..sets.inputs import Interval


def without_inactive(graph: Graph, bounds: dict[int, Interval]) -> tuple[Graph, dict[int, Interval], dict[int, Tensor]]:
    """(graph, bounds of its ReLUs' inputs, which entries are left) without the inactive neurons; node indices stay."""
    nodes, kept_bounds = list(graph.nodes), dict(bounds)
    entries = {index: torch.arange(lower.numel()) for index, (lower, _) in bounds.items()}
    for index, (lower, upper) in bounds.items():
        relu, before = nodes[index], nodes[index].inputs[0]
        users = graph.consumers[index]
        dense = len(relu.shape) == 1 and len(users) == 1 and len(graph.consumers[before]) == 1
        first, last = nodes[before].op, nodes[users[0]].op if users else None
        if not dense or not isinstance(relu.op, Relu) or not isinstance(first, Linear) or not isinstance(last, Linear):
            continue
        keep = (upper.flatten() > 0).nonzero().squeeze(1)
        keep = keep if len(keep) else torch.zeros(1, dtype=torch.long)
        bias = None if first.bias is None else first.bias[keep]
        size, entries[index] = (len(keep),), keep
        nodes[before] = replace(nodes[before], op=replace(first, weight=first.weight[keep], bias=bias), shape=size)
        nodes[index] = replace(relu, shape=size)
        nodes[users[0]] = replace(nodes[users[0]], op=replace(last, weight=last.weight[:, keep].contiguous()))
        kept_bounds[index] = Interval(lower[:, keep], upper[:, keep])
    return Graph(tuple(nodes)), kept_bounds, entries
