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
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from verifiers.bounds.rounding import gamma
from verifiers.bounds.sets.inputs import UNDERFLOW, Interval
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp, one_hot

from .jacobian import differences, slope_range

_BYTES = 1 << 27  # of the coefficients on their way
_COPIES = 8
_UNITS = 256  # unit vectors pushed at a time


@dataclass(frozen=True)
class _Layer:
    """Affine nodes `steps` on node `start`, then an activation with slopes low, high (n,).

    doubtful: the neurons whose slope is in doubt; settled: the slope of the others, 0 for these.
    """

    start: int
    steps: tuple[int, ...]
    low: Tensor
    high: Tensor
    doubtful: Tensor
    settled: Tensor


@dataclass
class _Chain:
    """A chain of layers, seen from its end for K functions.

    rows: Y of the last layer (K, n), wrong by at most `error`; largest: for every node a bound of the derivatives with
    respect to its value, (K,); known: bounds of Y for the layers done so far, (K, doubtful neurons); columns: what the
    affine nodes of a layer make of the doubtful neurons before it, one at a time.
    """

    graph: Graph
    layers: list[_Layer]
    rows: Tensor
    error: Tensor
    largest: dict[int, Tensor]
    known: dict[int, Interval] = field(default_factory=dict)
    columns: dict[int, Tensor] = field(default_factory=dict)


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
            settled = torch.where(low == high, low, 0.0)
            layers.append(_Layer(start, tuple(steps), low, high, (low != high).nonzero().squeeze(1), settled))
            steps, start = [], index
    largest = {end: (rows.abs() + error).flatten(1).amax(dim=1)}
    for index in range(end, 0, -1):
        magnitude, shape = graph.magnitudes[index], graph.nodes[index - 1].shape
        column = 1.0
        if magnitude is not None:
            ones = rows.new_ones(1, *graph.nodes[index].shape)
            column = float(magnitude.adjoint(ones, shape).max()) * (1 + gamma(magnitude.terms + 16))
        largest[index - 1] = largest[index] * column
    return _Chain(graph, layers, rows.flatten(1), error.flatten(1), largest)


def _gradient(chain: _Chain, deadline: Deadline) -> tuple[Tensor, Tensor]:
    """Bounds (K, n) of the derivatives with respect to the input."""
    depth = len(chain.layers)
    if depth == 0:
        return chain.rows - chain.error, chain.rows + chain.error
    for layer in range(depth - 1, 0, -1):
        chain.known[layer] = _columns(chain, layer, chain.layers[layer - 1].doubtful, deadline)
    return _columns(chain, 0, torch.arange(math.prod(chain.graph.input_shape)), deadline)


def _columns(chain: _Chain, layer: int, entries: Tensor, deadline: Deadline) -> Interval:
    """Bounds (K, P) of Y at `entries` (P,) of the input of layer number `layer`."""
    graph, count = chain.graph, len(chain.rows)
    shape = graph.nodes[chain.layers[layer].start].shape
    low = chain.rows.new_empty(count, len(entries))
    high = torch.empty_like(low)
    widest = max(math.prod(node.shape) for node in graph.nodes)
    at_once = max(1, _BYTES // (_COPIES * 8 * widest * count))
    for first in range(0, len(entries), at_once):
        part = slice(first, first + at_once)
        unit = one_hot(entries[part], shape, torch.float64)
        for side, bound in ((-1.0, low), (1.0, high)):
            deadline.check()
            bound[:, part] = _unwrapped(chain, layer, unit, side)
    return Interval(low, high)


def _unwrapped(chain: _Chain, layer: int, unit: Tensor, sign: float) -> Tensor:
    """Bounds (K, P) from below (sign -1) or above (+1) of Y at the input of a layer, for `unit` columns (P, *shape)."""
    last = len(chain.layers) - 1
    # (G, P, *shape): one group while all functions share their coefficients, then one for each
    coefficients, slack = _pushed(chain, layer, unit[None])
    total = sign * slack
    for number in range(layer, last):
        flat, doubtful = coefficients.flatten(2), chain.layers[number].doubtful
        chosen, added = _chosen(chain, number, flat[..., doubtful], sign)
        norm = _norm(flat)
        start = chain.layers[number + 1].start
        slack = gamma(8) * chain.largest[start][:, None] * norm + UNDERFLOW
        settled = flat * chain.layers[number].settled
        total = total + added + sign * slack
        if len(flat) == 1:  # what all functions share is pushed on once, the rest as combinations of few columns
            coefficients, slack = _pushed(chain, number + 1, settled.reshape(coefficients.shape))
            own, more = _combined(chain, number + 1, chosen, doubtful)
            coefficients = coefficients + own.reshape(len(own), *coefficients.shape[1:])
            slack = slack + more
        else:
            settled[..., doubtful] = chosen
            coefficients, slack = _pushed(chain, number + 1, settled.reshape(coefficients.shape))
        total = total + sign * slack
    return total + _ended(chain, coefficients.flatten(2), sign)


def _chosen(chain: _Chain, number: int, flat: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    """Coefficients (K, P, U) of the doubtful neurons with a known sign, times the slope that makes the bound hold, and
    bounds (K, P) of what the others add. flat: their coefficients (G, P, U)."""
    current, (low, high) = chain.layers[number], chain.known[number + 1]
    least, largest = current.low[current.doubtful], current.high[current.doubtful]
    positive = (low >= 0)[:, None]
    certain = positive | (high <= 0)[:, None]
    # the least product Y s c takes the small slope where Y c > 0, the large one elsewhere
    upwards = torch.where(positive, flat, -flat) * sign > 0
    chosen = torch.where(certain, flat * torch.where(upwards, largest, least), 0.0)
    worst = sign * torch.maximum(sign * flat * low[:, None], sign * flat * high[:, None]) * largest
    worst = torch.where(certain, 0.0, worst)
    lost = gamma(flat.shape[2] + 8) * worst.abs().sum(dim=2)
    return chosen, worst.sum(dim=2) + sign * lost


def _ended(chain: _Chain, flat: Tensor, sign: float) -> Tensor:
    """sum Y s c at the last layer, where Y is given: the extremum over the slopes, (K, P)."""
    current, count = chain.layers[-1], len(chain.rows)
    middle, half = (current.high + current.low) / 2, (current.high - current.low) / 2
    centre = torch.einsum("kpn,kn->kp", (flat * middle).expand(count, -1, -1), chain.rows)
    spread = torch.einsum("kpn,kn->kp", (flat.abs() * half).expand(count, -1, -1), chain.rows.abs())
    size, error = (part.abs().amax(dim=1, keepdim=True) for part in (chain.rows, chain.error))
    rounding = gamma(2 * flat.shape[2] + 16)
    lost = ((1 + rounding) * error + rounding * size) * _norm(flat) + UNDERFLOW
    return centre + sign * (spread + lost)


def _pushed(chain: _Chain, number: int, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """(coefficients after the affine nodes of a layer, error (K, P) that this makes)."""
    count, groups = len(chain.rows), coefficients.shape[:2]
    slack = coefficients.new_zeros(count, groups[1])
    for index in chain.layers[number].steps:
        op = chain.graph.nodes[index].op
        assert isinstance(op, LinearOp)
        norm = _norm(coefficients.flatten(2))
        slack = slack + gamma(op.terms + op.rounded + 8) * chain.largest[index - 1][:, None] * norm + UNDERFLOW
        passed = op.linear(coefficients.flatten(0, 1))
        coefficients = passed.reshape(*groups, *passed.shape[1:])
    return coefficients, slack


def _combined(chain: _Chain, number: int, chosen: Tensor, doubtful: Tensor) -> tuple[Tensor, Tensor]:
    """As `_pushed`, for coefficients (K, P, U) of the doubtful neurons only; (K, P, n).

    The columns err by what pushing a unit vector errs, which is paid for the norm of the combination.
    """
    graph, layer = chain.graph, chain.layers[number]
    if number not in chain.columns:
        parts = torch.split(one_hot(doubtful, graph.nodes[layer.start].shape, torch.float64), _UNITS)
        chain.columns[number] = torch.cat([_pushed(chain, number, part[None])[0][0].flatten(1) for part in parts])
    ops = [graph.nodes[index].op for index in layer.steps]
    terms = sum(op.terms + op.rounded + 8 for op in ops if isinstance(op, LinearOp)) + chosen.shape[2] + 8
    slack = gamma(terms) * chain.largest[layer.start][:, None] * _norm(chosen) + UNDERFLOW
    return chosen @ chain.columns[number], slack


def _norm(flat: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(flat, ord=1, dim=2)
    return norm
