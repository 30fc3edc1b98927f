"""What solver methods start from: the network as a chain of affine layers, and CROWN's bounds for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch

from sokbench.core.deadline import OutOfTime
from sokbench.core.errors import Unsupported
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.graph import graph_of
from verifiers.graph.rewriting.affine import AffineLayer, affine_relu_layers

from .input_set import InputSet, input_set
from .safe_bound import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Ball
    from verifiers.bounds.optimized.relaxed import Relaxed
    from verifiers.graph import Graph

Interval = tuple[Vector, Vector]

# a graph is immutable, and writing a convolution as a matrix costs more than most linear programs over it
_CHAINS: WeakKeyDictionary[Graph, list[AffineLayer]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Instance:
    """One image's problem in plain arrays.

    layers:    the chain, ReLU after all but the last
    inputs:    the perturbed inputs
    intervals: sound (lower, upper) bounds (n,) of the input of every ReLU
    margins:   (C,) sound lower bounds of f_label - f_j, +inf at the label
    """

    layers: list[AffineLayer]
    inputs: InputSet
    intervals: list[Interval]
    margins: Vector
    label: int


def chain_of(network: Network) -> list[AffineLayer]:
    """The network's affine layers; raises `Unsupported` if it is not a ReLU chain."""
    graph = graph_of(network)
    if graph not in _CHAINS:
        _CHAINS[graph] = affine_relu_layers(graph)
    return _CHAINS[graph]


def instances(
    network: Network,
    x: Tensor,
    labels: Tensor,
    ball: Ball,
    deadline: Deadline,
    plan: str = "crown",
) -> list[Instance]:
    """An `Instance` for each image of `x` (B, *input_shape), with the bounds of a plan of `verifiers.bounds`.

    Raises `Unsupported` for other norms and networks, and where bounds overflow float64; `OutOfTime` with the margins
    that were proved until then.
    """
    sets = [input_set(image, ball) for image in x]
    layers, graph = chain_of(network), graph_of(network)
    margins = margin_bounds(graph, x, labels, ball, plan, deadline)
    try:
        bounds = preactivation_bounds(graph, x, ball, plan, deadline)
    except OutOfTime:
        raise OutOfTime(margins) from None
    intervals = [(low.flatten(1).numpy(), up.flatten(1).numpy()) for low, up in bounds]
    if not all(np.isfinite(low).all() and np.isfinite(up).all() for low, up in intervals):
        raise Unsupported("the pre-activation bounds overflow: a linear program needs finite ones")
    return [
        Instance(layers, inputs, [(low[i], up[i]) for low, up in intervals], margins[i].numpy().copy(), int(labels[i]))
        for i, inputs in enumerate(sets)
    ]


def intervals_of(state: Relaxed) -> list[Interval]:
    """The bounds of the input of every ReLU, each (n,), in the order of the chain; copies."""
    return [_flat(state.bounds[relu]) for relu in state.graph.relus]


def _flat(bounds: tuple[Tensor, Tensor]) -> Interval:
    lower, upper = (side.flatten().numpy().copy() for side in bounds)
    return lower, upper


def improved(images: list[Instance], improve: Callable[[Instance, Deadline], bool], deadline: Deadline) -> Tensor:
    """The margins (B, C) of `images` after `improve` has raised those of each one in place, in equal shares of time.

    improve: returns False where its share cut the work short; then this raises `OutOfTime` with the margins proved.
    """
    finished = [improve(image, deadline.share(1 / (len(images) - i))) for i, image in enumerate(images)]
    best = torch.tensor(np.stack([image.margins for image in images]))
    if not all(finished):
        raise OutOfTime(best, images_finished=sum(finished))
    return best
