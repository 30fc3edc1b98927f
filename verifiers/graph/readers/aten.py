"""The operations of torch (ATen), one function each: `f(builder, *arguments of the operation's schema)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from .. import elementwise
from ..linear import Linear
from ..ops import BatchNorm, Op
from . import compose, recurrent, windows
from .build import Builder, Operand, Value
from .moved import Moved

Handler = Callable[..., Any]

SELU = (1.6732632423543772, 1.0507009873554805)
"""Scale of the exponential and of all of it."""

IDENTITIES = {"alias", "clone", "contiguous", "detach", "lift_fresh_copy", "positive", "_assert_tensor_metadata"}

SEEDED_BY_DROPOUT = {"lstm", "scaled_dot_product_attention"}
"""Random only if they drop out, which their functions check."""

UNARY: dict[str, type[Op]] = {
    "abs": elementwise.Abs,
    "atan": elementwise.Arctan,
    "erf": elementwise.Erf,
    "exp": elementwise.Exp,
    "log": elementwise.Log,
    "reciprocal": elementwise.Reciprocal,
    "relu": elementwise.Relu,
    "sigmoid": elementwise.Sigmoid,
    "silu": elementwise.Silu,
    "sqrt": elementwise.Sqrt,
    "square": elementwise.Square,
    "tanh": elementwise.Tanh,
}


def unary(op: type[Op], b: Builder, x: Value) -> Value:
    return b.add(op(), x)


def _linear(b: Builder, x: Value, weight: Operand, bias: Operand) -> Value:
    return b.add(Linear(b.constant(weight), bias), x)


def _addmm(b: Builder, c: Operand, x: Operand, y: Operand, beta: float, alpha: float) -> Value:
    product = compose.matmul(b, x, y)
    product = product if alpha == 1 else b.scale(product, alpha)
    return _sum(b, product, c, beta)


def _conv(
    b: Builder, x: Value, weight: Operand, bias: Operand, stride: Any, padding: Any, dilation: Any, groups: int
) -> Value:
    kernel = b.constant(weight)
    dims = kernel.dim() - 2
    size = kernel.shape[2:]
    place = windows.windows_of(dims, size, stride, 0 if isinstance(padding, str) else padding, dilation)
    if padding == "same":
        place = windows.same_padding(place, b.shape(x)[-dims:])
    return windows.conv(b, x, kernel, bias, place, groups)


def _conv_transpose(
    b: Builder, x: Value, weight: Operand, bias: Operand, stride: Any, padding: Any, extra: Any, groups: int,
    dilation: Any,
) -> Value:  # fmt: skip
    kernel = b.constant(weight)
    dims = kernel.dim() - 2
    place = windows.windows_of(dims, kernel.shape[2:], stride, padding, dilation)
    return windows.conv_transpose(b, x, kernel, bias, place, windows.windows_of(dims, extra).kernel, groups)


def _avg_pool(
    dims: int, b: Builder, x: Value, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool,
    divisor: int | None = None,
) -> Value:  # fmt: skip
    return windows.avg_pool(b, x, windows.windows_of(dims, kernel, stride, padding, 1, ceil), counted, divisor)


def _max_pool(
    dims: int, b: Builder, x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Value:
    return windows.max_pool(b, x, windows.windows_of(dims, kernel, stride, padding, dilation, ceil))


def _batch_norm(
    b: Builder, x: Value, weight: Operand, bias: Operand, mean: Operand, variance: Operand, training: bool,
    momentum: float, eps: float, *_: Any,
) -> Value:  # fmt: skip
    if training or mean is None or variance is None:
        raise Unsupported(f"batch_norm at {b.where!r} uses the statistics of the batch")
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    return b.add(BatchNorm(weight, bias, mean, variance, float(eps)), x)


def _instance_norm(
    b: Builder, x: Value, weight: Operand, bias: Operand, mean: Operand, variance: Operand, batch_statistics: bool,
    momentum: float, eps: float, *_: Any,
) -> Value:  # fmt: skip
    if not batch_statistics:
        return _batch_norm(b, x, weight, bias, mean, variance, False, momentum, eps)
    return compose.group_norm(b, x, b.shape(x)[0], weight, bias, eps)


def _elu(b: Builder, x: Value, alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    scaled = x if input_scale == 1 else b.scale(x, input_scale)
    found = b.add(elementwise.Elu(float(alpha)), scaled)
    return found if scale == 1 else b.scale(found, scale)


def _softplus(b: Builder, x: Value, beta: float, threshold: float) -> Value:
    if threshold != 20:
        raise Unsupported(f"softplus at {b.where!r} with the threshold {threshold}")
    return b.add(elementwise.Softplus(float(beta)), x)


def _prelu(b: Builder, x: Value, slope: Tensor) -> Value:
    shape = (-1, *(1 for _ in b.shape(x)[1:])) if slope.numel() > 1 else ()
    return compose.leaky_relu(b, x, slope.reshape(shape))


def _sum(b: Builder, a: Operand, c: Operand, alpha: float = 1.0) -> Value:
    return b.sum(a, c if alpha == 1 else b.scale(c, alpha) if isinstance(c, Value) else c * alpha)


def _difference(b: Builder, a: Operand, c: Operand, alpha: float = 1.0) -> Value:
    return _sum(b, a, c, -alpha)


def _quotient(b: Builder, a: Operand, c: Operand, rounding: str | None = None) -> Value:
    if rounding is not None:
        raise Unsupported(f"division with rounding at {b.where!r}")
    return b.quotient(a, c)


def _pad(b: Builder, x: Value, ends: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    if mode != "constant":
        return b.move(x, lambda t: torch.nn.functional.pad(t, list(ends), mode))
    none = [0] * (len(b.sizes(x)) - len(ends) // 2)
    return compose.pad(b, x, [*none, *reversed(ends[::2])], [*none, *reversed(ends[1::2])], value or 0.0)


def _lstm(
    b: Builder, x: Any, states: Sequence[Operand], weights: Sequence[Tensor], biases: bool, layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool,
) -> list[Any]:  # fmt: skip
    if any(isinstance(state, Value) for state in states) or not batch_first or (train and dropout):
        raise Unsupported(f"lstm at {b.where!r}: batch_first=True, constant states and no dropout are supported")
    count = 4 if biases else 2
    groups = [weights[i : i + count] for i in range(0, len(weights), count)]
    if any(len(group) != count for group in groups) or len(groups) != states[0].shape[0]:
        raise Unsupported(f"lstm at {b.where!r} with projections")
    first = list(zip(torch.unbind(states[0]), torch.unbind(states[1]), strict=True))
    outputs, last = recurrent.lstm(b, x, first, groups, bidirectional)
    stacks = [compose.stack(b, side, 1) for side in zip(*last, strict=True)]
    return [outputs, *(Moved(stack, b.indices(stack).transpose(0, 1)) for stack in stacks)]


def _lstm_cell(
    b: Builder, x: Value, states: Sequence[Operand], in_weight: Tensor, weight: Tensor, in_bias: Operand, bias: Operand
) -> tuple[Value, Value]:
    return recurrent.lstm_cell(b, b.add(Linear(in_weight, in_bias), x), (states[0], states[1]), weight, bias)


def _attention(
    b: Builder, query: Value, key: Value, value: Value, mask: Operand, dropout: float, causal: bool,
    scale: float | None = None, grouped: bool = False,
) -> Value:  # fmt: skip
    if dropout or grouped or isinstance(mask, Value):
        raise Unsupported(f"attention at {b.where!r} with dropout, grouped queries or a mask that is not constant")
    scores = compose.matmul(b, query, b.move(key, lambda t: t.transpose(-1, -2)))
    scores = b.scale(scores, 1.0 / math.sqrt(b.shape(query)[-1]) if scale is None else scale, roundings=2)
    if causal:
        mask = torch.ones(b.shape(query)[-2], b.shape(key)[-2], dtype=torch.bool).tril()
    if mask is None:
        return compose.matmul(b, compose.softmax(b, scores, -1), value)
    admitted = mask if mask.dtype == torch.bool else ~mask.isneginf()
    if mask.dtype != torch.bool:
        scores = b.sum(scores, torch.where(admitted, mask, 0.0))
    return compose.matmul(b, compose.masked_softmax(b, scores, admitted), value)


def _reduced(reduce: Callable[..., Value]) -> Handler:
    """For schemas (self, dim, keepdim, ...), and those without `dim`, which mix the batch with the rest."""

    def handler(b: Builder, x: Value, dim: Any = None, keepdim: bool = False, *_: Any) -> Value:
        return reduce(b, x, [dim] if isinstance(dim, int) else list(dim or ()), keepdim)

    return handler


def _first(handler: Handler) -> Handler:
    """Of an operation with several results, of which only the first is known."""
    return lambda *args: [handler(*args)]


_LARGEST, _SMALLEST = _reduced(compose.largest), _reduced(compose.smallest)

HANDLERS: dict[str, Handler] = {
    **{name: partial(unary, op) for name, op in UNARY.items()},
    "add": _sum,
    "addmm": _addmm,
    "adaptive_avg_pool1d": windows.adaptive_avg_pool,
    "adaptive_avg_pool2d": windows.adaptive_avg_pool,
    "adaptive_max_pool1d": lambda b, x, size: [windows.max_pool(b, x, windows.adaptive_windows(b, x, size))],
    "adaptive_max_pool2d": lambda b, x, size: [windows.max_pool(b, x, windows.adaptive_windows(b, x, size))],
    "amax": _LARGEST,
    "amin": _SMALLEST,
    "avg_pool1d": partial(_avg_pool, 1),
    "avg_pool2d": partial(_avg_pool, 2),
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda b, x, w, c, mean, variance, momentum, eps: [
        _batch_norm(b, x, w, c, mean, variance, False, momentum, eps)
    ],
    "bmm": compose.matmul,
    "cat": compose.concat,
    "clamp": compose.clamp,
    "clamp_max": compose.minimum,
    "clamp_min": compose.maximum,
    "concat": compose.concat,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv_transpose1d": _conv_transpose,
    "conv_transpose2d": _conv_transpose,
    "div": _quotient,
    "elu": _elu,
    "gelu": lambda b, x, approximate: b.add(elementwise.Gelu(approximate), x),
    "group_norm": lambda b, x, groups, weight, bias, eps, _: compose.group_norm(b, x, groups, weight, bias, eps),
    "hardsigmoid": lambda b, x: compose.clamp(b, b.scale(x, 1 / 6, 0.5, roundings=1), 0, 1),
    "hardswish": lambda b, x: b.product(x, compose.clamp(b, b.scale(x, 1 / 6, 0.5, roundings=1), 0, 1)),
    "hardtanh": compose.clamp,
    "instance_norm": _instance_norm,
    "layer_norm": lambda b, x, shape, weight, bias, eps, _: compose.layer_norm(b, x, len(shape), weight, bias, eps),
    "leaky_relu": compose.leaky_relu,
    "linear": _linear,
    "log_sigmoid": lambda b, x: b.scale(b.add(elementwise.Softplus(), b.scale(x, -1.0)), -1.0),
    "log_softmax": lambda b, x, axis, _: compose.log_softmax(b, x, axis),
    "lstm": _lstm,
    "lstm_cell": _lstm_cell,
    "masked_fill": lambda b, x, mask, value: compose.where(b, mask, value, x),
    "matmul": compose.matmul,
    "max": _LARGEST,
    "max.dim": _first(_LARGEST),
    "max.other": compose.maximum,
    "max_pool1d": partial(_max_pool, 1),
    "max_pool2d": partial(_max_pool, 2),
    "maximum": compose.maximum,
    "mean": _reduced(compose.mean),
    "min": _SMALLEST,
    "min.dim": _first(_SMALLEST),
    "min.other": compose.minimum,
    "minimum": compose.minimum,
    "mm": compose.matmul,
    "mul": Builder.product,
    "neg": lambda b, x: b.scale(x, -1.0),
    "pad": _pad,
    "pow": compose.power,
    "prelu": _prelu,
    "relu6": lambda b, x: compose.clamp(b, x, 0, 6),
    "rsqrt": lambda b, x: b.add(elementwise.Reciprocal(), b.add(elementwise.Sqrt(), x)),
    "rsub": lambda b, x, other, alpha: _difference(b, other, x, alpha),
    "scaled_dot_product_attention": _attention,
    "selu": lambda b, x: _elu(b, x, *SELU),
    "softmax": lambda b, x, axis, _: compose.softmax(b, x, axis),
    "softplus": _softplus,
    "stack": compose.stack,
    "sub": _difference,
    "sum": _reduced(Builder.total),
    "where": compose.where,
}
