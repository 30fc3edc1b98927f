"""Operations composed of primitive ones, so that bound propagation never sees them.

Dimensions are counted as the source counts them (see `build`); negative ones count from the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from ..arrangement import Pad
from ..bivariate import Max
from ..elementwise import Clamp, Exp, LeakyRelu, Log, Reciprocal, Relu, Sqrt, Square
from ..linear import Linear
from .build import Builder, Operand, Value

_LONGEST_SOFTMAX = 256  # its pairwise differences are a matrix of n^3 entries
_LONGEST_NORM = 4096
_CLOSE = 1024.0


def changed(b: Builder, x: Operand, change: Callable[[Tensor], Tensor]) -> Operand:
    """A value or a constant rearranged by a function of torch."""
    return b.move(x, change) if isinstance(x, Value) else change(x)


def maximum(b: Builder, x: Operand, y: Operand) -> Value:
    """max(x, c) = c + relu(x - c) for a constant c, which complete verifiers branch on; where x - c would cancel x in
    floating point, c becomes a value."""
    if isinstance(x, Value) and isinstance(y, Value):
        return b.add(Max(), *b.broadcast(x, y))
    value, bound = (x, b.constant(y)) if isinstance(x, Value) else (y, b.constant(x))
    if not bool(bound.any()):
        return b.add(Relu(), value)
    if bool((bound.abs() > _CLOSE).any()):
        return maximum(b, value, b.scale(value, 0.0, bound))
    return b.sum(b.add(Relu(), b.difference(value, bound)), bound)


def minimum(b: Builder, x: Operand, y: Operand) -> Value:
    return b.scale(maximum(b, *(b.scale(z, -1.0) if isinstance(z, Value) else -b.constant(z) for z in (x, y))), -1.0)


def clamp(b: Builder, x: Value, low: Operand, high: Operand) -> Value:
    """min(max(x, low), high); None for a side without a bound."""
    if all(isinstance(side, (int, float)) for side in (low, high)):
        return b.add(Clamp(min(float(low), float(high)), float(high)), x)
    x = x if low is None else maximum(b, x, low)
    return x if high is None else minimum(b, x, high)


def leaky_relu(b: Builder, x: Value, slope: Operand) -> Value:
    """slope x + (1 - slope) relu(x) where the slope is not one number in [0, 1]."""
    slopes = b.constant(slope).double()
    if slopes.numel() == 1 and 0.0 <= float(slopes) <= 1.0:
        return b.add(LeakyRelu(float(slopes)), x)
    return b.sum(b.scale(x, slopes), b.scale(b.add(Relu(), x), 1.0 - slopes, roundings=1))


def power(b: Builder, x: Operand, exponent: Operand) -> Value:
    """x^n for an integer n or n = 1/2, and c^x for a constant c > 0."""
    if not isinstance(x, Value):
        return b.add(Exp(), b.scale(exponent, b.constant(x).double().log(), roundings=2))
    if b.constant(exponent).numel() != 1:
        raise Unsupported(f"powers with different exponents at {b.where!r}")
    n = float(b.constant(exponent))
    if n < 0.0:
        return b.add(Reciprocal(), power(b, x, -n))
    if n == 0.5:
        return b.add(Sqrt(), x)
    if n != int(n) or not 1 <= n <= 64:
        raise Unsupported(f"the power {n:g} at {b.where!r}; integers up to 64 and 1/2 are known")
    if n == 1:
        return x
    root = power(b, x, n // 2)
    return b.product(b.add(Square(), root), x) if n % 2 else b.add(Square(), root)


def mean(b: Builder, x: Value, axes: Sequence[int], keepdim: bool = False) -> Value:
    """The mean over dimensions; over all if `axes` is empty."""
    x, places = b.axes(x, axes)
    return b.scale(b.total(x, axes, keepdim), 1.0 / math.prod(b.shape(x)[place] for place in places), roundings=1)


def largest(b: Builder, x: Value, axes: Sequence[int], keepdim: bool = False) -> Value:
    """The maximum over dimensions (all if `axes` is empty): halves against each other, the middle in both if odd."""
    x, places = b.axes(x, axes)
    for place in places:
        axis = place + x.batched
        while (size := b.sizes(x)[axis]) > 1:
            half = (size + 1) // 2
            halves = [
                b.move(x, partial(torch.narrow, dim=axis, start=start, length=half)) for start in (0, size - half)
            ]
            x = b.add(Max(), *halves)
    dropped = [place + x.batched for place in places]
    return x if keepdim else b.move(x, lambda t: t.squeeze(dropped))


def smallest(b: Builder, x: Value, axes: Sequence[int], keepdim: bool = False) -> Value:
    return b.scale(largest(b, b.scale(x, -1.0), axes, keepdim), -1.0)


def where(b: Builder, condition: Operand, x: Operand, y: Operand) -> Value:
    """x where the constant condition holds, else y."""
    mask = b.constant(condition).double()
    chosen = [
        b.scale(part, weight) if isinstance(part, Value) else b.constant(part) * weight
        for part, weight in ((x, mask), (y, 1.0 - mask))
    ]
    return b.sum(*chosen)


def pad(b: Builder, x: Value, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Value:
    """Constants around all dimensions of `x`; negative counts cut off."""
    if x.batched and (before[0] or after[0]):
        x = b.unbatched(x)
    op = Pad(tuple(before[x.batched :]), tuple(after[x.batched :]))
    padded = b.add(op, x) if any(before) or any(after) else x
    ones = torch.ones(1, *b.shape(x), dtype=torch.float64)
    return b.sum(padded, fill * (1.0 - op.linear(ones)[0])) if fill else padded


def concat(b: Builder, parts: Sequence[Operand], axis: int) -> Value:
    """Tensors side by side: the sum of each with zeros in the others' places."""
    values = [b.axes(part, [axis])[0] for part in parts if isinstance(part, Value)]
    if len({value.batched for value in values}) > 1:
        values = [b.unbatched(value) for value in values]
    like, left = values[0], list(values)
    axis = axis % len(b.sizes(like)) - like.batched
    members = [left.pop(0) if isinstance(part, Value) else b.member(b.constant(part), like) for part in parts]
    shapes = [b.shape(part) if isinstance(part, Value) else tuple(part.shape) for part in members]
    starts = [sum(shape[axis] for shape in shapes[:i]) for i in range(len(shapes) + 1)]
    total: Value | None = None
    constants = torch.zeros((), dtype=torch.float64)
    for part, start, end in zip(members, starts, starts[1:], strict=False):
        before, after = [0] * len(shapes[0]), [0] * len(shapes[0])
        before[axis], after[axis] = start, starts[-1] - end
        op = Pad(tuple(before), tuple(after))
        if isinstance(part, Value):
            placed = b.add(op, part) if any(before) or any(after) else part
            total = placed if total is None else b.sum(total, placed)
        else:
            constants = constants + op.linear(part[None].double())[0]
    assert total is not None
    return b.sum(total, constants) if bool(constants.any()) else total


def stack(b: Builder, parts: Sequence[Operand], axis: int) -> Value:
    return concat(b, [changed(b, part, lambda t: t.unsqueeze(axis)) for part in parts], axis)


def matmul(b: Builder, x: Operand, y: Operand) -> Value:
    """x @ y. Of two variables, it is a sum of products of all rows with all columns."""
    if not isinstance(y, Value) and y.dim() <= 2:
        found = b.add(Linear(b.constant(y).T if y.dim() == 2 else b.constant(y)[None]), x)
        return found if y.dim() == 2 else b.move(found, lambda t: t.squeeze(-1))
    if not isinstance(x, Value) and x.dim() == 2:
        if len(b.sizes(y)) == 1:
            return b.add(Linear(b.constant(x)), y)
        turned = b.add(Linear(b.constant(x)), b.move(y, lambda t: t.transpose(-1, -2)))
        return b.move(turned, lambda t: t.transpose(-1, -2))
    if min(len(b.sizes(z)) if isinstance(z, Value) else z.dim() for z in (x, y)) < 2:
        raise Unsupported(f"the product of vectors at {b.where!r}")
    left, right = changed(b, x, lambda t: t.unsqueeze(-1)), changed(b, y, lambda t: t.unsqueeze(-3))
    return b.total(b.product(left, right), [-2])


def softmax(b: Builder, x: Value, axis: int) -> Value:
    """1 / sum_j exp(x_j - x_i): each input once in every term, and the diagonal is exactly 1."""
    return b.add(Reciprocal(), _relative_sums(b, x, axis))


def masked_softmax(b: Builder, x: Value, mask: Tensor) -> Value:
    """Softmax over the last dimension among the entries that `mask` (broadcastable to x) admits; 0 for the others."""
    if not bool(mask.any(dim=-1).all()):
        raise Unsupported(f"a mask at {b.where!r} that admits nothing to some rows")
    # i itself stays in its sum, which is then at least 1, and what that makes wrong is multiplied by 0
    pairs = mask.unsqueeze(-2) | torch.eye(mask.shape[-1], dtype=torch.bool)
    return b.scale(b.add(Reciprocal(), _relative_sums(b, x, -1, pairs.double())), mask.double())


def log_softmax(b: Builder, x: Value, axis: int) -> Value:
    return b.scale(b.add(Log(), _relative_sums(b, x, axis)), -1.0)


def _relative_sums(b: Builder, x: Value, axis: int, weights: Tensor | None = None) -> Value:
    """sum_j w_ij exp(x_j - x_i) for every i of a dimension; weights: w (..., i, j) for the last one, all 1 if None."""
    x, (place,) = b.axes(x, [axis])
    back, size = place - len(b.shape(x)), b.shape(x)[place]
    if size > _LONGEST_SOFTMAX:
        raise Unsupported(f"softmax at {b.where!r} of {size} values; at most {_LONGEST_SOFTMAX} are supported")
    unit = torch.eye(size, **b.options)
    pairs = Linear((unit[None] - unit[:, None]).flatten(0, 1))
    differences = b.add(pairs, b.move(x, lambda t: t.movedim(back, -1)))
    exponentials = b.add(Exp(), b.move(differences, lambda t: t.reshape(*t.shape[:-1], size, size)))
    exponentials = exponentials if weights is None else b.scale(exponentials, weights)
    return b.move(b.total(exponentials, [-1]), lambda t: t.movedim(-1, back))


def normalize(b: Builder, x: Value, eps: float) -> Value:
    """(x - mean) / sqrt(variance + eps) over the last dimension of size n.

    Computed as z / sqrt(mean(z^2) + n^2 eps) from z = n x - sum x, whose weights are integers, hence exact.
    """
    size = b.shape(x)[-1]
    if size > _LONGEST_NORM:
        raise Unsupported(f"normalization at {b.where!r} over {size} values; at most {_LONGEST_NORM} are supported")
    centred = b.add(Linear(size * torch.eye(size, **b.options) - 1.0), x)
    squares = b.total(b.add(Square(), centred), [-1], keepdim=True)
    deviation = b.add(Sqrt(), b.scale(squares, 1.0 / size, size * size * eps, roundings=2))
    return b.product(centred, b.add(Reciprocal(), deviation))


def layer_norm(b: Builder, x: Value, dimensions: int, weight: Operand, bias: Operand, eps: float) -> Value:
    """Over the last `dimensions`; weight and bias of their shape, or None."""
    sizes = b.sizes(x)
    found = normalize(b, b.move(x, lambda t: t.flatten(-dimensions)), eps)
    found = b.move(found, lambda t: t.reshape(sizes))
    return _affine(b, found, weight, bias)


def group_norm(b: Builder, x: Value, groups: int, weight: Operand, bias: Operand, eps: float) -> Value:
    """Over groups of channels, which are the first dimension after the batch; weight and bias (channels,) or None."""
    x = b.batched(x)
    sizes = b.sizes(x)
    found = normalize(b, b.move(x, lambda t: t.reshape(t.shape[0], groups, -1)), eps)
    per_channel = (-1, *(1 for _ in sizes[2:]))
    weight, bias = (None if part is None else part.reshape(per_channel) for part in (weight, bias))
    return _affine(b, b.move(found, lambda t: t.reshape(sizes)), weight, bias)


def _affine(b: Builder, x: Value, weight: Operand, bias: Operand) -> Value:
    if weight is None and bias is None:
        return x
    return b.scale(x, 1.0 if weight is None else weight, 0.0 if bias is None else bias)
