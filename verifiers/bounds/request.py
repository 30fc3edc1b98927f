"""What every way of bounding does first and last: check the question, and write the answer down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput
from sokbench.core.memory import keep_freed_memory
from sokbench.core.network import Network
from sokbench.core.problem import Ball, check_inputs
from verifiers.graph import graph_of
from verifiers.graph.graph import Graph

from .plans import Plan
from .propagation import other_classes
from .sets.inputs import InputSet, input_set


def bounding_graph(network: Network, plan: Plan) -> Graph:
    """The graph that `plan` runs on: on a GPU where there is one and the plan is one of back-substitution."""
    on_gpu = torch.cuda.is_available() and plan.domain is None
    return graph_of(network, "cuda" if on_gpu else "cpu")


@contextmanager
def rigorous() -> Iterator[None]:
    """Without gradients, and with convolutions that are sums of products: on a GPU cuDNN may choose FFT or Winograd,
    to which the error analysis in `rounding` does not apply."""
    keep_freed_memory()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        yield


def checked_inputs(graph: Graph, x: Tensor, ball: Ball | InputSet) -> InputSet:
    """The balls around x (B, *input_shape) as an input set in float64; another input set, in float64, as it is.

    Raises `Unsupported` for an l0 ball without a box, `InvalidInput` for a wrong shape, values outside the box or not
    finite.
    """
    if tuple(x.shape[1:]) != graph.input_shape:
        raise InvalidInput(f"the inputs have shape {tuple(x.shape)}, the network expects (B, *{graph.input_shape})")
    if isinstance(ball, InputSet):
        hull = ball.interval().lower
        if hull.shape != x.shape or hull.dtype != torch.float64:
            found = f"{tuple(hull.shape)} in {hull.dtype}"
            raise InvalidInput(f"the input set is {found}, the inputs are {tuple(x.shape)} and sets are in float64")
        return ball
    check_inputs(x, ball)
    return input_set(x.detach().to(graph.device, torch.float64), ball)


def checked_labels(graph: Graph, x: Tensor, labels: Tensor) -> Tensor:
    """labels as integers where the graph is. Raises `InvalidInput` unless there is one class for each of x."""
    if graph.num_classes < 2:
        raise InvalidInput("margins compare classes, and this network has a single output; bounds of it are available")
    labels = labels.to(graph.device, torch.long)
    if labels.shape != x.shape[:1] or not all(0 <= label < graph.num_classes for label in labels.tolist()):
        raise InvalidInput(f"{x.shape[0]} labels from 0 to {graph.num_classes - 1} are expected, not {labels.tolist()}")
    return labels


def full_margins(found: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Margins (B, C), +inf at the label, from those of the other classes ascending (B, C - 1); NaN becomes -inf."""
    known = found.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    return known.new_full((len(labels), classes), torch.inf).scatter(1, other_classes(labels, classes), known)
