"""ONNX operators, one function each: `f(builder, *inputs, **attributes)`; other attributes are refused.

Operators whose inputs are all constant are run by `onnx.reference`; so are those that only move numbers around, on the
places of the numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from ..elementwise import Elu, Gelu, Softplus
from ..linear import Linear
from ..ops import BatchNorm
from . import compose, windows
from .aten import SELU, UNARY, unary
from .build import Builder, Operand, Value

Scope = dict[str, Operand]
"""What has a name so far: nodes of the graph being built, and constant tensors."""

_ARRANGEMENTS = {
    "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip

_RANDOM = {"Bernoulli", "Multinomial"}


def convert(b: Builder, scope: Scope, node: Any, opset: int) -> Sequence[Operand]:
    """The values of an ONNX node at `b.where`. Raises `Unsupported` for an operator, or an attribute of one, that is
    not known, and `KeyError` for an input that nothing has produced."""
    import onnx.helper

    if node.domain not in ("", "ai.onnx") or node.op_type.startswith("Random") or node.op_type in _RANDOM:
        raise Unsupported(f"the operation {node.domain}{node.op_type} at {b.where!r} is random or not of ONNX itself")
    inputs: list[Any] = [scope[name] if name else None for name in node.input]
    if not any(isinstance(value, Value) for value in inputs):
        return _run(b, node, inputs, opset)
    if node.op_type == "Shape":
        return _run(b, node, [b.indices(inputs[0])], opset)
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type in _ARRANGEMENTS or _only_moves(node.op_type, attributes):
        constants = [None if value is None else b.constant(value) for value in inputs[1:]]
        if not isinstance(inputs[0], Value):
            raise Unsupported(f"{node.op_type} at {b.where!r} of a constant by a variable")
        return [b.arrange(inputs[0], place) for place in _run(b, node, [b.indices(inputs[0]), *constants], opset)]
    if node.op_type not in _HANDLERS:
        raise Unsupported(f"the operation {node.op_type} at {b.where!r} is not known")
    handler = _HANDLERS[node.op_type]
    for name in attributes:
        if name not in inspect.signature(handler).parameters:
            raise Unsupported(f"{node.op_type} at {b.where!r} with the attribute {name}")
    if "opset" in inspect.signature(handler).parameters:
        attributes["opset"] = opset
    return [handler(b, *inputs, **attributes)]


def _only_moves(name: str, attributes: dict[str, Any]) -> bool:
    """Whether an operator that computes in some of its modes only moves numbers around in this one."""
    if name in ("Resize", "Upsample"):
        cropped = attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize"  # makes new numbers
        return attributes.get("mode", b"nearest") == b"nearest" and not cropped
    return name == "Pad" and attributes.get("mode", b"constant") != b"constant"


def _run(b: Builder, node: Any, inputs: Sequence[Tensor | None], opset: int) -> list[Tensor]:
    from onnx.reference import ReferenceEvaluator

    given = {name: value.detach().numpy() for name, value in zip(node.input, inputs, strict=True) if value is not None}
    try:
        found = ReferenceEvaluator(node, opsets={"": opset}).run(None, given)
    except Exception as error:  # the evaluator raises what numpy raises
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"{node.op_type} at {b.where!r} cannot be evaluated: {reason}") from None
    return [torch.from_numpy(np.array(array)) for array in found]


def _gemm(
    b: Builder, x: Operand, y: Operand, c: Operand = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Value:  # fmt: skip
    x, y = (
        compose.changed(b, z, lambda t: t.transpose(-1, -2)) if turned else z
        for z, turned in ((x, transA), (y, transB))
    )
    if isinstance(x, Value) and isinstance(y, Tensor) and isinstance(c, Tensor) and alpha == beta == 1.0:
        units = y.shape[-1]
        if c.numel() in (1, units):
            return b.add(Linear(y.T.contiguous(), c.reshape(-1).expand(units).clone()), x)
    product = compose.matmul(b, x, y)
    product = product if alpha == 1.0 else b.scale(product, alpha)
    shift = c if beta == 1.0 or c is None else b.scale(c, beta) if isinstance(c, Value) else beta * c
    return product if c is None else b.sum(product, shift)


def _windows(
    b: Builder, x: Value, kernel: Sequence[int], auto_pad: bytes, pads: Any, strides: Any, dilations: Any,
    ceil: bool = False,
) -> windows.Windows:  # fmt: skip
    place = windows.windows_of(len(kernel), kernel, strides or 1, pads or 0, dilations or 1, ceil)
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        return windows.same_padding(place, b.shape(x)[-len(kernel) :], more_before=auto_pad == b"SAME_LOWER")
    return place


def _conv(
    b: Builder, x: Value, weight: Operand, bias: Operand = None, *, auto_pad: bytes = b"NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Value:  # fmt: skip
    kernel = b.constant(weight)
    place = _windows(b, x, tuple(kernel.shape[2:]), auto_pad, pads, strides, dilations)
    return windows.conv(b, x, kernel, None if bias is None else b.constant(bias), place, group)


def _conv_transpose(
    b: Builder, x: Value, weight: Operand, bias: Operand = None, *, dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, pads: Any = None, strides: Any = None,
) -> Value:  # fmt: skip
    kernel = b.constant(weight)
    place = _windows(b, x, tuple(kernel.shape[2:]), b"NOTSET", pads, strides, dilations)
    extra = tuple(output_padding or (0,) * len(place.kernel))
    return windows.conv_transpose(b, x, kernel, None if bias is None else b.constant(bias), place, extra, group)


def _average_pool(
    b: Builder, x: Value, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Value:  # fmt: skip
    place = _windows(b, x, kernel_shape, auto_pad, pads, strides, dilations, bool(ceil_mode))
    return windows.avg_pool(b, x, place, bool(count_include_pad))


def _max_pool(
    b: Builder, x: Value, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0,
    dilations: Any = None, pads: Any = None, storage_order: int = 0, strides: Any = None,
) -> Value:  # fmt: skip
    return windows.max_pool(b, x, _windows(b, x, kernel_shape, auto_pad, pads, strides, dilations, bool(ceil_mode)))


def _batch_norm(
    b: Builder, x: Value, weight: Operand, bias: Operand, mean: Operand, variance: Operand, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0, spatial: int = 1,
) -> Value:  # fmt: skip
    if training_mode or not spatial:
        raise Unsupported(f"BatchNormalization at {b.where!r} with training_mode or per-element statistics")
    parts = [b.constant(part) for part in (weight, bias, mean, variance)]
    return b.add(BatchNorm(parts[0], parts[1], parts[2], parts[3], float(epsilon)), b.batched(x))


def _dropout(
    b: Builder, x: Value, ratio: Operand = None, training: Operand = None, *, seed: int = 0, **_: Any
) -> Value:
    if training is not None and bool(b.constant(training).any()):
        raise Unsupported(f"Dropout at {b.where!r} in training mode")
    return x


def _softmax(function: Callable[..., Value], b: Builder, x: Value, *, opset: int, axis: int | None = None) -> Value:
    if opset >= 13:
        return function(b, x, -1 if axis is None else axis)
    sizes = b.sizes(x)  # before, all dimensions from the axis on were one
    start = 1 if axis is None else axis % len(sizes)
    return b.move(function(b, b.move(x, lambda t: t.flatten(start)), -1), lambda t: t.reshape(sizes))


def _layer_norm(
    b: Builder, x: Value, weight: Operand, bias: Operand = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Value:  # fmt: skip
    count = len(b.sizes(x))
    return compose.layer_norm(b, x, count - axis % count, weight, bias, epsilon)


def _clip(
    b: Builder, x: Value, low: Operand = None, high: Operand = None, *, min: float | None = None,
    max: float | None = None,
) -> Value:  # fmt: skip
    sides = (given if side is None else float(b.constant(side)) for side, given in ((low, min), (high, max)))
    # exporters write the largest numbers there are for no bound
    return compose.clamp(b, x, *(None if side is None or abs(side) > 3e38 else side for side in sides))


def _reduced(
    function: Callable[..., Value], b: Builder, x: Value, given: Operand = None, *, axes: Any = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    chosen = list(axes or ()) if given is None else b.constant(given).tolist()
    return x if noop_with_empty_axes and not chosen else function(b, x, chosen, bool(keepdims))


def _global(function: Callable[..., Value], b: Builder, x: Value) -> Value:
    return function(b, x, list(range(2, len(b.sizes(x)))), keepdim=True)


def _pad(
    b: Builder, x: Value, ends: Operand = None, fill: Operand = None, axes: Operand = None, *,
    mode: bytes = b"constant", pads: Any = None, value: float = 0.0,
) -> Value:  # fmt: skip
    counts = list(pads) if ends is None else b.constant(ends).tolist()
    count = len(b.sizes(x))
    places = range(count) if axes is None else [axis % count for axis in b.constant(axes).tolist()]
    before, after = [0] * count, [0] * count
    for i, place in enumerate(places):
        before[place], after[place] = counts[i], counts[i + len(counts) // 2]
    return compose.pad(b, x, before, after, value if fill is None else float(b.constant(fill)))


def _cast(b: Builder, x: Value, *, to: int, **_: Any) -> Value:
    import onnx.helper

    if not np.issubdtype(onnx.helper.tensor_dtype_to_np_dtype(to), np.floating):
        raise Unsupported(f"Cast at {b.where!r} to a type that is not floating point")
    return x


def _all(function: Callable[..., Value], b: Builder, *inputs: Operand) -> Operand:
    """A commutative function of two, of any number."""
    first, *others = sorted(inputs, key=lambda value: not isinstance(value, Value))
    for other in others:
        first = function(b, first, other)
    return first


_HANDLERS: dict[str, Callable[..., Operand]] = {
    **{name.capitalize(): partial(unary, op) for name, op in UNARY.items()},
    "Add": Builder.sum,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda b, *parts, axis: compose.concat(b, parts, axis),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": Builder.quotient,
    "Dropout": _dropout,
    "Elu": lambda b, x, *, alpha=1.0: b.add(Elu(alpha), x),
    "Gelu": lambda b, x, *, approximate=b"none": b.add(Gelu(approximate.decode()), x),
    "Gemm": _gemm,
    "GlobalAveragePool": partial(_global, compose.mean),
    "GlobalMaxPool": partial(_global, compose.largest),
    "HardSigmoid": lambda b, x, *, alpha=0.2, beta=0.5: compose.clamp(b, b.scale(x, alpha, beta), 0.0, 1.0),
    "Identity": lambda b, x: x,
    "InstanceNormalization": lambda b, x, weight, bias, *, epsilon=1e-5: compose.group_norm(
        b, x, b.shape(x)[0], weight, bias, epsilon
    ),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda b, x, *, alpha=0.01: compose.leaky_relu(b, x, alpha),
    "LogSoftmax": partial(_softmax, compose.log_softmax),
    "MatMul": compose.matmul,
    "Max": partial(_all, compose.maximum),
    "MaxPool": _max_pool,
    "Min": partial(_all, compose.minimum),
    "Mul": Builder.product,
    "Neg": lambda b, x: b.scale(x, -1.0),
    "PRelu": compose.leaky_relu,
    "Pad": _pad,
    "Pow": compose.power,
    "ReduceMax": partial(_reduced, compose.largest),
    "ReduceMean": partial(_reduced, compose.mean),
    "ReduceMin": partial(_reduced, compose.smallest),
    "ReduceSum": partial(_reduced, Builder.total),
    "Selu": lambda b, x, *, alpha=SELU[0], gamma=SELU[1]: b.scale(b.add(Elu(alpha), x), gamma),
    "Softplus": lambda b, x: b.add(Softplus(), x),
    "Softmax": partial(_softmax, compose.softmax),
    "Sub": Builder.difference,
    "Sum": partial(_all, Builder.sum),
    "Where": compose.where,
}
