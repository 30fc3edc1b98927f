"""Upper bounds of operator norms that hold in real arithmetic.

l_inf and l_1 norms are the largest row and column sums of |W|. The l_2 norm is bounded from above by Frobenius norms
of powers of the Gram matrix, sigma(W)^(2 p) = ||(W W^T)^p||_2 <= ||(W W^T)^p||_F, which tends to equality with p;
an iterate of the power method would be a lower bound and proves nothing.

A zero-padded convolution is a part of a circular one on a torus that is large enough, whose Fourier transform is
block diagonal: its norm is at most the largest norm of the C_out x C_in matrices sum_k W_k exp(-i w k) over the
frequencies w of the torus. Stride s is a convolution of stride 1 on s^2 times as many channels.

Every function returns a float that is at least the norm. Rounding as in `verifiers.bounds.rounding`; sin and cos are
taken to err by at most 2 ulp.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.bounds.rounding import gamma
from verifiers.graph.arrangement import Permute, Reshape
from verifiers.graph.convolution import AvgPool2d, Conv2d
from verifiers.graph.graph import Graph
from verifiers.graph.linear import Linear, Scale
from verifiers.graph.ops import LinearOp

_SQUARINGS = 7  # p = 2^7: the bound exceeds sigma by at most a factor n^(1/512), 1.4 percent for n = 1024
_LARGEST_GRAM = 2048  # rows of a dense matrix whose powers are formed; beyond, the Frobenius norm has to do


def operator_norm(graph: Graph, index: int, norm: str) -> float:
    """At least the norm of affine node `index`, bias aside, from l_p to l_p. Raises `Unsupported` for l0."""
    node = graph.nodes[index]
    op, sums = node.op, graph.row_sums[index]
    if not isinstance(op, LinearOp) or sums is None:
        raise Unsupported(f"no operator norm of {op.name} at {node.label!r}")
    if isinstance(op, (Reshape, Permute)):
        return 1.0
    slack = 1.0 + gamma(op.terms + op.rounded + 2)
    if norm == "linf":
        return float(sums.max()) * slack
    ones = sums.new_ones(1, *node.shape)
    columns = op.magnitude().adjoint(ones, graph.nodes[node.inputs[0]].shape)
    if norm == "l1":
        return float(columns.max()) * slack
    if norm != "l2":
        raise Unsupported(f"operator norms for {norm} balls are not defined")
    mixed = math.sqrt(float(sums.max()) * float(columns.max())) * slack  # ||W||_2^2 <= ||W||_1 ||W||_inf
    # what weights that are roundings away from the network's own add is bounded through |W|, hence by `mixed`
    spectral = _spectral(op, graph.nodes[node.inputs[0]].shape) + gamma(op.rounded + 2) * mixed
    return min(mixed, spectral * (1.0 + gamma(4)))


def _spectral(op: LinearOp, in_shape: tuple[int, ...]) -> float:
    """At least the largest singular value of W as held; infinity where only cheaper bounds are at hand."""
    if isinstance(op, Scale):
        return float(op.scale.abs().max())
    if isinstance(op, Linear):
        weight = op.weight if op.weight.shape[0] <= op.weight.shape[1] else op.weight.T
        return largest_singular_value(weight[None])
    if isinstance(op, AvgPool2d):
        kernel = torch.full((1, 1, *op.kernel), 1.0 / math.prod(op.kernel), dtype=torch.float64)
        return _convolution(Conv2d(kernel, None, op.stride, op.padding), in_shape)
    if isinstance(op, Conv2d):
        parts = op.weight.chunk(op.groups)  # groups act on disjoint channels
        return max(_convolution(replace(op, weight=part, bias=None, groups=1), in_shape) for part in parts)
    return math.inf


def largest_singular_value(matrices: Tensor) -> float:
    """At least the largest singular value of any of the matrices (F, m, n), real or complex, m <= n preferred.

    With M_0 = W W^*, M_{k+1} = M_k^2 scaled to Frobenius norm 1 and e_k a bound of its distance from the exact power:
    fl(M^2) errs by gamma ||M||_F^2, so e_{k+1} = 2 ||M_k||_F e_k + e_k^2 + gamma ||M_k||_F^2, everything scaled alike.
    """
    rows, columns = matrices.shape[1:]
    # sqrt(m n) max |w| is enough for matrices whose squares might underflow
    least = float(matrices.abs().max()) * math.sqrt(rows * columns) * (1.0 + gamma(4))
    scale = torch.linalg.vector_norm(matrices, dim=(1, 2))
    if least <= 1e-140 or rows > _LARGEST_GRAM:
        return least if least <= 1e-140 else float(scale.max()) * (1.0 + gamma(rows * columns))
    matrices, scale = matrices[scale > 1e-145], scale[scale > 1e-145]
    # complex products are four real ones, and each entry sums twice as many terms
    step = 4 * gamma(2 * max(rows, columns) + 8)
    unit = matrices / scale[:, None, None]
    power = unit @ unit.mH
    error = torch.full_like(scale, step)
    logarithm = 2 * scale.log()  # of the factors taken out so far, for the 2^k-th power divided by 2^k
    for squaring in range(_SQUARINGS):
        size = torch.linalg.vector_norm(power, dim=(1, 2)) * (1.0 + gamma(rows * rows))
        logarithm = logarithm + size.log() / 2**squaring
        power, error = power / size[:, None, None], error / size + step
        power, error = power @ power, (2 * error + error.square() + step) * (1.0 + gamma(8))
    size = torch.linalg.vector_norm(power, dim=(1, 2)) * (1.0 + gamma(rows * rows)) + error
    logarithm = logarithm + size.log() / 2**_SQUARINGS
    # each logarithm errs by a few units in the last place of numbers below 1000, exp by as many
    return math.exp(float(logarithm.max()) / 2 + 1000 * gamma(8 * (_SQUARINGS + 2)))


def _convolution(op: Conv2d, in_shape: tuple[int, ...]) -> float:
    kernel = _stride_one(op)
    sizes = [in_shape[axis + 1] + 2 * op.padding[axis] for axis in (0, 1)]
    torus = [math.ceil(sizes[axis] / op.stride[axis]) + kernel.shape[axis + 2] for axis in (0, 1)]
    if kernel.shape[0] > kernel.shape[1]:
        kernel = kernel.transpose(0, 1)
    symbols = _symbols(kernel, torus[0], torus[1])
    # a phase errs by less than 40 u: turns are reduced exactly, three roundings of an angle below 2 pi, 2 ulp of sin
    # and cos; two phases are multiplied
    terms = kernel.shape[2] * kernel.shape[3]
    error = gamma(2 * terms + 50) * float(torch.linalg.vector_norm(kernel.abs().sum(dim=(2, 3)))) * 2
    return max(largest_singular_value(part) for part in torch.split(symbols, _batch(kernel))) + error


def _batch(kernel: Tensor) -> int:
    return max(1, (1 << 22) // (kernel.shape[0] * kernel.shape[1]))


def _stride_one(op: Conv2d) -> Tensor:
    """The kernel of the same convolution on an input whose s x s blocks have become channels; dilation written out."""
    weight = op.weight
    out, within, height, width = weight.shape
    (down, across), (step_down, step_across) = op.stride, op.dilation
    wide = weight.new_zeros(out, within, (height - 1) * step_down + 1, (width - 1) * step_across + 1)
    wide[:, :, ::step_down, ::step_across] = weight
    wide = F.pad(wide, (0, -wide.shape[3] % across, 0, -wide.shape[2] % down))
    return F.pixel_unshuffle(wide, down) if down == across else _unshuffle(wide, down, across)


def _unshuffle(wide: Tensor, down: int, across: int) -> Tensor:
    out, within, height, width = wide.shape
    blocks = wide.reshape(out, within, height // down, down, width // across, across)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(out, within * down * across, height // down, width // across)


def _symbols(kernel: Tensor, tall: int, wide: int) -> Tensor:
    """sum_k W_k exp(-2 pi i (f k / n)) for the frequencies of the torus: (F, out, in), complex.

    Real kernels have conjugate symbols at opposite frequencies, so half of one axis is enough.
    """
    down = _phases(tall // 2 + 1, kernel.shape[2], tall)
    across = _phases(wide, kernel.shape[3], wide)
    symbols = torch.einsum("oihw,fh,gw->fgoi", kernel.to(torch.complex128), down, across)
    return symbols.flatten(0, 1)


def _phases(frequencies: int, offsets: int, period: int) -> Tensor:
    turns = torch.outer(torch.arange(frequencies), torch.arange(offsets)) % period
    angles = turns.double() * (2 * math.pi / period)
    return torch.complex(angles.cos(), -angles.sin())
