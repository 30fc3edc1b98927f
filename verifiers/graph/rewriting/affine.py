"""A ReLU chain as sparse matrices, for solvers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import block_diag, csr_array, eye_array

from sokbench.core.errors import Unsupported

from ..convolution import AvgPool2d, Conv2d
from ..elementwise import Relu
from ..graph import Graph
from ..linear import Linear
from ..ops import LinearOp, Shape

_CHUNK = 1 << 22  # entries of the dense block that is made at a time


@dataclass(frozen=True, eq=False)
class AffineLayer:
    """z = weight @ x + bias on flattened values, ReLU after all layers of the chain but the last.

    weight: (out, in) float64 CSR; bias: (out,) float64; shape: of z in the network, without the batch
    weight_error, bias_error: the exact layer differs from this one by at most `weight_error` in the l1 norm of any
    row of the weight, and `bias_error` in any bias. Both are 0 where a layer of the network is taken as it is; they
    are not where batch norms were folded or several affine operations between two ReLUs were multiplied.
    """

    weight: csr_array
    bias: NDArray[np.float64]
    shape: Shape
    weight_error: float = 0.0
    bias_error: float = 0.0


def affine_relu_layers(graph: Graph) -> list[AffineLayer]:
    """The graph as a chain of affine layers with ReLUs between them.

    After a ReLU at the very end an identity layer is added. Raises `Unsupported` if the graph branches or has another
    nonlinearity.
    """
    layers: list[AffineLayer] = []
    current: AffineLayer | None = None
    for index, node in enumerate(graph.nodes[1:], start=1):
        if node.inputs != (index - 1,):
            raise Unsupported(f"the network branches at {node.label!r}: it is not a chain of layers")
        if isinstance(node.op, Relu):
            layers.append(current or _identity(graph.nodes[index - 1].shape))
            current = None
        elif isinstance(node.op, LinearOp):
            layer = as_matrix(node.op, graph.nodes[index - 1].shape, node.shape)
            current = layer if current is None else _compose(layer, current)
        else:
            raise Unsupported(f"{node.op.name} at {node.label!r}: not a ReLU network")
    return [*layers, current or _identity(graph.nodes[-1].shape)]


def _identity(shape: Shape) -> AffineLayer:
    size = int(np.prod(shape))
    return AffineLayer(csr_array(eye_array(size, format="csr")), np.zeros(size), shape)


def as_matrix(op: LinearOp, in_shape: Shape, out_shape: Shape) -> AffineLayer:
    """One affine operation on flattened values."""
    weight = _matrix(op, in_shape, out_shape)
    offset = torch.zeros(out_shape, dtype=torch.float64) if op.offset is None else op.offset.expand(out_shape)
    bias = offset.reshape(-1).numpy().copy()
    slack = _unit(2 * op.rounded)
    return AffineLayer(weight, bias, out_shape, slack * _row_norm(weight), slack * float(np.abs(bias).max(initial=0)))


def _matrix(op: LinearOp, in_shape: Shape, out_shape: Shape) -> csr_array:
    size_in, size_out = int(np.prod(in_shape)), int(np.prod(out_shape))
    if isinstance(op, Linear) and len(out_shape) == 1:
        return csr_array(op.weight.numpy())
    if isinstance(op, AvgPool2d):
        return _convolution(op.as_convolution(in_shape[0], torch.float64), in_shape)
    if isinstance(op, Conv2d):
        return _convolution(op, in_shape)
    blocks = []
    step = max(1, _CHUNK // max(size_in, size_out))
    for start in range(0, size_out, step):
        count = min(step, size_out - start)
        rows = torch.zeros(count, size_out, dtype=torch.float64)
        rows[torch.arange(count), start + torch.arange(count)] = 1.0
        pulled = op.adjoint(rows.reshape(count, *out_shape), in_shape).reshape(count, size_in)
        blocks.append(csr_array(pulled.numpy()))
    return csr_array(_stack(blocks))


def _convolution(op: Conv2d, in_shape: Shape) -> csr_array:
    """Every output channel has the kernel at the same places: those of the inputs' own numbers, unfolded."""
    if op.groups > 1:
        part = (in_shape[0] // op.groups, *in_shape[1:])
        alone = [replace(op, weight=weight, bias=None, groups=1) for weight in op.weight.chunk(op.groups)]
        return csr_array(block_diag([_convolution(each, part) for each in alone], format="csr"))
    size_in = int(np.prod(in_shape))
    numbers = torch.arange(1.0, size_in + 1, dtype=torch.float64).reshape(1, *in_shape)
    kernel = tuple(op.weight.shape[2:])
    windows = F.unfold(numbers, kernel, op.dilation, op.padding, op.stride)[0].T.long().numpy()  # (places, products)
    weight = op.weight.flatten(1).numpy()
    channels, places = len(weight), len(windows)
    shape = (channels, *windows.shape)
    inside = np.broadcast_to(windows > 0, shape) & (weight != 0)[:, None]
    ends = np.append(0, np.cumsum(inside.sum(axis=2).reshape(-1)))
    columns, values = np.broadcast_to(windows - 1, shape)[inside], np.broadcast_to(weight[:, None], shape)[inside]
    return csr_array((values, columns, ends), shape=(channels * places, size_in))


def _stack(blocks: list[csr_array]) -> csr_array:
    from scipy.sparse import vstack

    return blocks[0] if len(blocks) == 1 else vstack(blocks, format="csr")


def _compose(after: AffineLayer, before: AffineLayer) -> AffineLayer:
    """after(before(x)) with the rounding of the product counted.

    |fl(AB) - AB| <= gamma_n |A||B| entrywise, so a row's l1 norm errs by at most gamma_n ||A||_inf ||B||_inf; the
    errors A and B bring themselves are propagated by the product rule.
    """
    weight = csr_array(after.weight @ before.weight)
    bias = after.weight @ before.bias + after.bias
    terms = _unit(2 * int(np.diff(after.weight.indptr).max(initial=0)) + 4)
    a, b = _row_norm(after.weight), _row_norm(before.weight)
    bias_before, bias_after = (float(np.abs(layer.bias).max(initial=0)) for layer in (before, after))
    weight_error = terms * a * b + after.weight_error * (b + before.weight_error) + a * before.weight_error
    bias_error = (
        terms * (a * bias_before + bias_after)
        + after.weight_error * (bias_before + before.bias_error)
        + a * before.bias_error
        + after.bias_error
    )
    exact = _is_selection(after) or _is_selection(before)
    if exact and after.weight_error == before.weight_error == 0 and not before.bias.any():
        weight_error = bias_error = 0.0
    return AffineLayer(weight, bias, after.shape, weight_error, bias_error)


def _is_selection(layer: AffineLayer) -> bool:
    """Whether the layer only moves numbers around: one 1 per row and no bias."""
    counts = np.diff(layer.weight.indptr)
    return bool((counts == 1).all() and (layer.weight.data == 1.0).all() and not layer.bias.any())


def _row_norm(weight: csr_array) -> float:
    """||weight||_inf, rounded up."""
    counts = int(np.diff(weight.indptr).max(initial=0))
    return float(np.abs(weight).sum(axis=1).max(initial=0.0)) * (1.0 + _unit(2 * counts + 2))


def _unit(roundings: int) -> float:
    """2 n u bounds gamma_n = n u / (1 - n u) for n u <= 1/2, u = 2^-53."""
    return roundings * 2.0**-53 * (2.0 if roundings else 0.0)
