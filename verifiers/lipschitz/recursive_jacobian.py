"""Recursive bounds of the Jacobian of a chain of layers (RecurJac, Zhang et al. 2019, section 3).

Let z_1, .., z_m be the inputs of the activations, s_i in [low_i, high_i] their slopes, and Y_l the derivatives of K
functions of the output with respect to the outputs of activation layer l. Y_m are the rows of the last affine map, and
Y_l = Y_{l+1} diag(s_{l+1}) W_{l+1}. Column p of Y_l, the derivatives with respect to one neuron, is bounded from below
by

    sum_i Y_{l+1,i} s_i c_i,  c = W_{l+1} e_p,  >=  sum_known Y_{l+1,i} c'_i + sum_unknown min(Y s c)

where for a known sign of Y_{l+1,i} (or a slope that is not in doubt) c'_i is c_i times the end of the slope's range
that makes the product least. The first sum is written out with Y_{l+1} = Y_{l+2} diag(s) W_{l+2}: it is the same
problem one layer on with c = W_{l+2} c', and at the last layer Y is given. From above likewise. Only the derivatives
of neurons whose slope is in doubt are ever asked for, and those of the input.

Rounding. If ||Y||_max <= B for the derivatives with respect to a node's value, errors d of a coefficient vector c cost
B ||d||_1. B is known from column sums: B' = B times the largest column sum of |W| before an affine map, and slopes
are at most 1. A product W c errs by gamma_{n+R} |W| |c|, so it costs gamma_{n+R} B' ||c||_1; sums of n terms with
factors of at most b cost gamma_{n+8} b ||c||_1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from verifiers.bounds.inputs import UNDERFLOW, Interval
from verifiers.bounds.rounding import gamma
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp, one_hot

from .jacobian import differences, slope_range

_BYTES = 1 << 27  # of the coefficients on their way
_COPIES = 8


@dataclass(frozen=True)
class _Layer:
    """Affine nodes `steps` on node `start`, then an activation with slopes low, high (n,)."""

    start: int
    steps: tuple[int, ...]
    low: Tensor
    high: Tensor


@dataclass
class _Chain:
    """A chain of layers, seen from its end for K functions.

    rows: Y of the last layer (K, n), wrong by at most `error`; largest: for every node a bound of the derivatives with
    respect to its value, (K,); known: bounds of Y for the layers done so far, (K, n), infinite where not asked for.
    """

    graph: Graph
    layers: list[_Layer]
    rows: Tensor
    error: Tensor
    largest: dict[int, Tensor]
    known: dict[int, Interval]


def gradient_bounds(
    graph: Graph, intervals: list[Interval], labels: Tensor, deadline: Deadline
) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds (B, C - 1, *input_shape) of the gradients of f_y - f_j for j != y ascending.

    intervals: of every node but the last, (B, *shape). Raises `Unsupported` for graphs that are not chains of affine
    operations and activations with a slope range, and `OutOfTime`.
    """
    found = []
    for sample, label in enumerate(labels):
        own = [Interval(side.lower[sample], side.upper[sample]) for side in intervals]
        found.append(_gradient(_chain(graph, own, int(label)), deadline))
    low, high = (
        torch.stack([side.reshape(-1, *graph.input_shape) for side in sides]) for sides in zip(*found, strict=True)
    )
    return low, high


def _chain(graph: Graph, intervals: list[Interval], label: int) -> _Chain:
    rows, error, end = differences(graph, label)
    start, steps = 0, list[int]()
    layers: list[_Layer] = []
    for index, node in enumerate(graph.nodes[: end + 1]):
        if index and node.inputs != (index - 1,):
            raise Unsupported(f"the network branches at {node.label!r}: it is not a chain of layers")
        if isinstance(node.op, LinearOp):
            steps.append(index)
        elif index:
            low, high = (side.flatten() for side in slope_range(node, intervals[index - 1]))
            layers.append(_Layer(start, tuple(steps), low, high))
            steps, start = [], index
    largest = {end: (rows.abs() + error).flatten(1).amax(dim=1)}
    for index in range(end, 0, -1):
        magnitude, shape = graph.magnitudes[index], graph.nodes[index - 1].shape
        column = 1.0
        if magnitude is not None:
            ones = rows.new_ones(1, *graph.nodes[index].shape)
            column = float(magnitude.adjoint(ones, shape).max()) * (1 + gamma(magnitude.terms + 16))
        largest[index - 1] = largest[index] * column
    return _Chain(graph, layers, rows.flatten(1), error.flatten(1), largest, {})


def _gradient(chain: _Chain, deadline: Deadline) -> tuple[Tensor, Tensor]:
    """Bounds (K, n) of the derivatives with respect to the input."""
    depth = len(chain.layers)
    if depth == 0:
        return chain.rows - chain.error, chain.rows + chain.error
    for layer in range(depth - 1, 0, -1):
        doubtful = chain.layers[layer - 1].high > chain.layers[layer - 1].low
        chain.known[layer] = _columns(chain, layer, doubtful.nonzero().squeeze(1), deadline)
    return _columns(chain, 0, torch.arange(math.prod(chain.graph.input_shape)), deadline)


def _columns(chain: _Chain, layer: int, entries: Tensor, deadline: Deadline) -> Interval:
    """Bounds (K, n) of Y at the input of layer number `layer`, infinite but for the asked-for entries."""
    graph, count = chain.graph, len(chain.rows)
    shape = graph.nodes[chain.layers[layer].start].shape
    low = chain.rows.new_full((count, math.prod(shape)), -math.inf)
    high = -low
    widest = max(math.prod(node.shape) for node in graph.nodes)
    at_once = max(1, _BYTES // (_COPIES * 8 * widest * count))
    for part in torch.split(entries, at_once):
        if not len(part):
            continue
        for side, bound in ((-1.0, low), (1.0, high)):
            deadline.check()
            bound[:, part] = _unwrapped(chain, layer, one_hot(part, shape, torch.float64), side)
    return Interval(low, high)


def _unwrapped(chain: _Chain, layer: int, unit: Tensor, sign: float) -> Tensor:
    """Bounds (K, P) from below (sign -1) or above (+1) of Y at the input of a layer, for `unit` columns (P, *shape)."""
    count, at_once = len(chain.rows), len(unit)
    coefficients = unit[None]  # (1, P, *shape) while all functions share them, then (K, P, *shape)
    total = unit.new_zeros(count, at_once)
    for number in range(layer, len(chain.layers)):
        current = chain.layers[number]
        for index in current.steps:
            coefficients, slack = _through(chain, index, coefficients)
            total = total + sign * slack
        flat = coefficients.flatten(2)
        norm = flat.abs().sum(dim=2)
        middle, half = (current.high + current.low) / 2, (current.high - current.low) / 2
        rounding = gamma(2 * flat.shape[2] + 16)
        if number == len(chain.layers) - 1:
            total = total + _ended(chain, flat, middle, half, sign)
            size = chain.rows.abs().amax(dim=1, keepdim=True)
            return total + sign * (((1 + rounding) * chain.error.amax(dim=1, keepdim=True) + rounding * size) * norm)
        low, high = chain.known[number + 1]
        settled = half == 0
        positive, negative = (low >= 0)[:, None], (high <= 0)[:, None]
        certain = positive | negative | settled
        # the least product Y s c takes the small slope where Y c > 0, the largest one the large slope
        upwards = torch.where(positive, 1.0, -1.0) * flat * sign > 0
        slopes = torch.where(upwards, current.high, current.low)
        worst = sign * torch.maximum(sign * flat * low[:, None], sign * flat * high[:, None]) * current.high
        total = total + torch.where(certain, 0.0, worst).sum(dim=2)
        reach = torch.where(certain, 0.0, torch.maximum(low.abs(), high.abs())[:, None]).amax(dim=2)
        reach = torch.maximum(reach, chain.largest[chain.layers[number + 1].start][:, None])
        total = total + sign * (rounding * reach * norm + UNDERFLOW)
        coefficients = torch.where(certain, flat * slopes, 0.0).reshape(count, at_once, *coefficients.shape[2:])
    raise AssertionError("a chain ends with its last layer")


def _ended(chain: _Chain, flat: Tensor, middle: Tensor, half: Tensor, sign: float) -> Tensor:
    """sum Y s c at the last layer, where Y is given: the extremum over the slopes, (K, P)."""
    centre = torch.einsum("kpn,kn->kp", flat.expand(len(chain.rows), -1, -1) * middle, chain.rows)
    spread = torch.einsum("kpn,kn->kp", flat.abs().expand(len(chain.rows), -1, -1) * half, chain.rows.abs())
    return centre + sign * spread


def _through(chain: _Chain, index: int, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """(coefficients after affine node `index`, error (K, P) that this makes)."""
    op = chain.graph.nodes[index].op
    assert isinstance(op, LinearOp)
    groups = coefficients.shape[:2]
    norm = coefficients.flatten(2).abs().sum(dim=2)
    slack = gamma(op.terms + op.rounded + 8) * chain.largest[index - 1][:, None] * norm + UNDERFLOW
    passed = op.linear(coefficients.flatten(0, 1))
    return passed.reshape(*groups, *passed.shape[1:]), slack
