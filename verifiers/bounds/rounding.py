"""What float64 arithmetic can lose, so that published bounds hold in real arithmetic.

Model (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 3): fl(a op b) = (a op b)(1 + d) with
|d| <= u = 2^-53, hence a sum of n products in any order errs by at most gamma_n = n u / (1 - n u) times the sum of
their magnitudes. It holds for dot products, GEMM and direct or im2col convolution, not for Winograd, FFT or Strassen,
which torch does not use for float64 on the CPU.

Intervals. Let |z| <= Z for the inputs z in [l, u] of z' = W z + b, rho = |W| 1, M = Z rho + |b|. The centre m of [l, u]
errs by 2 u Z and u - m by u Z, so that every z is within u - m + 5 u Z of m; their images err by gamma_{n+1} M and
gamma_n Z rho, the final sums by 4 u M, and weights that are R roundings away from the network's own by gamma_R M:
widening each side by gamma_{2n+R+11} M covers all of it.

Rows. Back-substitution keeps rows a and constants c with: target >= a z_k + c - slack on the whole input set. Any
float rows will do, provided each step says how far they are from the exact ones as a function of z_k:
- affine z_k = W z + b: fl(W^T a) z differs from a W z by at most gamma_n |a| |W| |z|, fl(a b) from a b by at most
  gamma_N |a| |b| for a of N entries, so slack grows by ||a||_1 max(gamma_{n+R} Z rho + gamma_{N+R} |b|);
- a relaxation with slopes of magnitude <= s and offsets <= t: at most eight roundings per entry and two dot products
  of N terms, ||a||_1 (gamma_8 s Z + gamma_{N+8} t);
- a sum of two rows at a node that is used twice: u ||a||_1 Z;
- the input set: ||a||_1 gamma_{N+8} (the largest |x|, plus radius);
- the constants are sums of at most T terms a b, two for each node, which errs by gamma_T times the sum of |a| |b|, that
  is ||a||_1 times the largest |b| of each step: T is added to N wherever a constant arises.
So all of it is ||a||_1 times one number per input and node, and costs one reduction per step; none after a relaxation,
whose slopes are at most s: ||a||_1 s bounds the norm of what it returns. Entries that are left out because their value
is zero on the whole input set, or that are zero outside a window, only make sums shorter. Magnitudes are themselves
computed in floating point, within a relative gamma_n <= 0.6 percent; `gamma` carries a factor that covers it.

Underflow: a product loses at most 2^-1075; fewer than 2^64 of them, each multiplied by values below 2^300, lose less
than 2^-700 per step, which is added at the end. Values beyond 2^300 count as infinite. NaN (inf - inf) means "no
bound" everywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp

_UNIT = 2.0**-53
TINY = 2.0**-690
HUGE = 2.0**300

Size = Tensor | float


def gamma(n: int) -> float:
    """An upper bound of 1.01 gamma_n in float64. Raises `OverflowError` where the analysis does not apply."""
    if n * _UNIT > 0.005:
        raise OverflowError(f"a sum of {n} products is too long for this error analysis")
    return 1.02 * n * _UNIT


class Rounding(ABC):
    """How far real and computed bounds can be apart.

    Sizes Z are (B,) per input, or (G, 1) picked for the owners of rows; norms ||a||_1 and errors of rows (S, G, K).
    """

    @abstractmethod
    def peak(self, magnitudes: Tensor) -> Size:
        """Z of values of these magnitudes (B, *shape), all at least 0."""

    @abstractmethod
    def size(self, lower: Tensor, upper: Tensor) -> Size:
        """Z of an interval (B, *shape), lower <= upper."""

    @final
    def larger(self, first: Tensor, second: Tensor) -> Size:
        """Z of any two tensors (B, *shape)."""
        return self.size(torch.minimum(first, second), torch.maximum(first, second))

    @abstractmethod
    def image(self, graph: Graph, index: int, size: Size) -> Size:
        """Error of each side of the interval image (B, *shape) of affine node `index`, for inputs of size (B,)."""

    @abstractmethod
    def total(self, magnitudes: Tensor) -> Size:
        """||a||_1 of rows with these magnitudes |a| (S, G, K, *shape)."""

    @abstractmethod
    def norm(self, rows: Tensor) -> Size:
        """||a||_1 of rows (S, G, K, *shape)."""

    @abstractmethod
    def scaled(self, norm: Size, slope: Size) -> Size:
        """||a||_1 after slopes of at most this magnitude."""

    @abstractmethod
    def affine(self, graph: Graph, index: int, norm: Size, size: Size) -> Size:
        """Error of one step through affine node `index`; size of its input."""

    @abstractmethod
    def relaxed(self, entries: int, norm: Size, size: Size, slope: Size, offset: Size) -> Size:
        """Error of one step through a relaxation: size of its input, largest slope and offset."""

    @abstractmethod
    def merged(self, norm: Size, size: Size) -> Size:
        """Error of adding rows that meet at a node of this size."""

    @abstractmethod
    def concretized(self, entries: int, norm: Size, size: Size) -> Size:
        """Error of the extremum over the input set."""

    @abstractmethod
    def added(self, constants: Tensor) -> Size:
        """Error of one addition to the constants."""

    @abstractmethod
    def outward(self, values: Tensor, slack: Size, sign: Tensor | float) -> Tensor:
        """Values moved by `slack` and to the next float: downwards for sign -1, upwards for +1."""


@final
class Outward(Rounding):
    """Bounds that hold in real arithmetic; float64 only."""

    def peak(self, magnitudes: Tensor) -> Size:
        return _finite_or_inf(magnitudes.flatten(1).amax(dim=1))

    def size(self, lower: Tensor, upper: Tensor) -> Size:
        return _finite_or_inf(torch.maximum(-lower.flatten(1).amin(dim=1), upper.flatten(1).amax(dim=1)))

    def image(self, graph: Graph, index: int, size: Size) -> Size:
        op = _affine(graph, index)
        gain, largest = graph.gains[index]
        relative = gamma(2 * op.terms + op.rounded + 11)
        error = size * (relative * gain) + (relative * largest + TINY)
        return error if isinstance(error, float) else error.reshape(-1, *(1 for _ in graph.nodes[index].shape))

    def total(self, magnitudes: Tensor) -> Size:
        return magnitudes.flatten(3).sum(dim=3)

    def norm(self, rows: Tensor) -> Size:
        return self.total(rows.abs())

    def scaled(self, norm: Size, slope: Size) -> Size:
        return norm * slope * (1 + 16 * _UNIT)

    def affine(self, graph: Graph, index: int, norm: Size, size: Size) -> Size:
        op, entries = _affine(graph, index), math.prod(graph.nodes[index].shape)
        gain, largest = graph.gains[index]
        constant = gamma(entries + op.rounded + constant_terms(graph) + 16) * largest
        return norm * (gamma(op.terms + op.rounded) * gain * size + constant) + TINY

    def relaxed(self, entries: int, norm: Size, size: Size, slope: Size, offset: Size) -> Size:
        return norm * (gamma(8) * slope * size + gamma(entries + 16) * offset) + TINY

    def merged(self, norm: Size, size: Size) -> Size:
        return norm * (gamma(1) * size)

    def concretized(self, entries: int, norm: Size, size: Size) -> Size:
        return norm * (gamma(entries + 8) * size) + TINY

    def added(self, constants: Tensor) -> Size:
        return constants.abs() * (2 * _UNIT)

    def outward(self, values: Tensor, slack: Size, sign: Tensor | float) -> Tensor:
        moved = values + sign * (slack + TINY)
        end = sign * math.inf
        return torch.nextafter(moved, end if isinstance(end, Tensor) else moved.new_tensor(end))


def constant_terms(graph: Graph) -> int:
    """T, the most terms of a row's constant."""
    return 2 * len(graph.nodes) + 2


def _finite_or_inf(size: Tensor) -> Tensor:
    """Infinite beyond 2^301; no digits are lost."""
    return size * (2.0**1023 / HUGE) * (HUGE / 2.0**1023)


def _affine(graph: Graph, index: int) -> LinearOp:
    op = graph.nodes[index].op
    if not isinstance(op, LinearOp):
        raise TypeError(f"node {index} is {op.name}, not affine")
    return op


@final
class Nearest(Rounding):
    """Bounds as computed, for training: differentiable, in any precision, no certificate."""

    def peak(self, magnitudes: Tensor) -> Size:
        return 0.0

    def size(self, lower: Tensor, upper: Tensor) -> Size:
        return 0.0

    def image(self, graph: Graph, index: int, size: Size) -> Size:
        return 0.0

    def total(self, magnitudes: Tensor) -> Size:
        return 0.0

    def norm(self, rows: Tensor) -> Size:
        return 0.0

    def scaled(self, norm: Size, slope: Size) -> Size:
        return 0.0

    def affine(self, graph: Graph, index: int, norm: Size, size: Size) -> Size:
        return 0.0

    def relaxed(self, entries: int, norm: Size, size: Size, slope: Size, offset: Size) -> Size:
        return 0.0

    def merged(self, norm: Size, size: Size) -> Size:
        return 0.0

    def concretized(self, entries: int, norm: Size, size: Size) -> Size:
        return 0.0

    def added(self, constants: Tensor) -> Size:
        return 0.0

    def outward(self, values: Tensor, slack: Size, sign: Tensor | float) -> Tensor:
        return values
