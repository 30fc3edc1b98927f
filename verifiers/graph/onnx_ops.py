"""ONNX operators as graph operations, one function per operator.

Operators whose inputs are all constant are evaluated where exporters leave such chains (Constant, Reshape, Transpose of
weights).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from .build import Builder, Operand, pair
from .convolution import AvgPool2d, Conv2d
from .elementwise import Relu
from .linear import Linear
from .ops import BatchNorm

Scope = dict[str, Operand]
"""What has a name so far: nodes of the graph being built, and constant tensors."""

Handler = Callable[[Builder, str, list[Any], dict[str, Any]], Operand]


def convert(builder: Builder, scope: Scope, node: Any, where: str) -> Operand:
    """The value of an ONNX node. Raises `Unsupported` for an operator, or an attribute of one, that is not known, and
    `KeyError` for an input that nothing has produced."""
    import onnx.helper

    if node.op_type not in HANDLERS:
        raise Unsupported(f"the operation {node.op_type} at {where!r} is not known")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name in attributes:
        if name not in _KNOWN_ATTRIBUTES.get(node.op_type, ()):
            raise Unsupported(f"{node.op_type} at {where!r} with the attribute {name}")
    inputs = [scope[name] if name else None for name in node.input]
    return HANDLERS[node.op_type](builder, where, inputs, attributes)


def _constant(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    import onnx.numpy_helper

    return torch.from_numpy(onnx.numpy_helper.to_array(attributes["value"]).copy())


def _identity(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    return inputs[0]


def _dropout(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    if len(inputs) > 2 and inputs[2] is not None and bool(builder.constant(inputs[2], where).any()):
        raise Unsupported(f"Dropout at {where!r} in training mode")
    return inputs[0]


def _relu(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    return builder.add(Relu(), where, inputs[0])


def _gemm(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    a, b, c = [*inputs, None][:3]
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
        raise Unsupported(f"Gemm at {where!r} with alpha, beta or transA")
    weight = builder.constant(b, where)
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = None if c is None else builder.constant(c, where).reshape(-1).expand(weight.shape[0]).clone()
    return builder.add(Linear(weight.contiguous(), bias), where, a)


def _matmul(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    a, b = inputs
    weight = builder.constant(b, where)
    if weight.dim() != 2:
        raise Unsupported(f"MatMul at {where!r} by a constant of {weight.dim()} dimensions")
    return builder.add(Linear(weight.T.contiguous()), where, a)


def _conv(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    x, weight, bias = [*inputs, None][:3]
    kernel = builder.constant(weight, where)
    if kernel.dim() != 4:
        raise Unsupported(f"Conv at {where!r} in {kernel.dim() - 2} dimensions")
    stride, dilation = (pair(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    shift = None if bias is None else builder.constant(bias, where)
    padding, groups = _padding(attributes, where), int(attributes.get("group", 1))
    return builder.add(Conv2d(kernel, shift, stride, padding, dilation, groups), where, x)


def _average_pool(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    padding = _padding(attributes, where)
    if attributes.get("ceil_mode", 0) or (any(padding) and not attributes.get("count_include_pad", 0)):
        raise Unsupported(f"AveragePool at {where!r} with ceil_mode or without counting the padding")
    op = AvgPool2d(pair(attributes["kernel_shape"]), pair(attributes.get("strides", (1, 1))), padding)
    return builder.add(op, where, inputs[0])


def _global_average_pool(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    kernel = pair(builder.shape(inputs[0])[-2:])
    return builder.add(AvgPool2d(kernel, kernel), where, inputs[0])


def _batch_norm(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
        raise Unsupported(f"BatchNormalization at {where!r} with training_mode or per-element statistics")
    weight, bias, mean, variance = (builder.constant(value, where) for value in inputs[1:])
    eps = float(attributes.get("epsilon", 1e-5))
    return builder.add(BatchNorm(weight, bias, mean, variance, eps), where, inputs[0])


def _flatten(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    if attributes.get("axis", 1) != 1:
        raise Unsupported(f"Flatten at {where!r} with an axis other than 1")
    return inputs[0].flatten(1) if isinstance(inputs[0], Tensor) else builder.reshape(inputs[0], (1, -1), 1, where)


def _reshape(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    x = inputs[0]
    sizes = [int(size) for size in builder.constant(inputs[1], where)]
    own = tuple(x.shape) if isinstance(x, Tensor) else (1, *builder.shape(x))
    sizes = [own[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes) if isinstance(x, Tensor) else builder.reshape(x, sizes, 1, where)


def _transpose(builder: Builder, where: str, inputs: list[Any], attributes: dict[str, Any]) -> Operand:
    x = inputs[0]
    dimensions = x.dim() if isinstance(x, Tensor) else len(builder.shape(x)) + 1
    order = list(attributes.get("perm", reversed(range(dimensions))))
    return x.permute(order) if isinstance(x, Tensor) else builder.permute(x, order, where)


def _padding(attributes: dict[str, Any], where: str) -> tuple[int, int]:
    automatic = attributes.get("auto_pad", b"NOTSET")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if automatic not in (b"NOTSET", b"VALID") or top != bottom or left != right:
        raise Unsupported(f"padding that differs between sides at {where!r}")
    return int(top), int(left)


HANDLERS: dict[str, Handler] = {
    "Add": lambda builder, where, inputs, _: builder.sum(inputs[0], inputs[1], where),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Constant": _constant,
    "Conv": _conv,
    "Div": lambda builder, where, inputs, _: builder.quotient(inputs[0], inputs[1], where),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": lambda builder, where, inputs, _: builder.product(inputs[0], inputs[1], where),
    "Relu": _relu,
    "Reshape": _reshape,
    "Sub": lambda builder, where, inputs, _: builder.difference(inputs[0], inputs[1], where),
    "Transpose": _transpose,
}

_KNOWN_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "AveragePool": ("strides", "pads", "kernel_shape", "auto_pad", "ceil_mode", "count_include_pad"),
    "BatchNormalization": ("epsilon", "momentum", "training_mode", "spatial"),
    "Constant": ("value",),
    "Conv": ("strides", "pads", "dilations", "group", "kernel_shape", "auto_pad"),
    "Dropout": ("ratio", "seed"),
    "Flatten": ("axis",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "Transpose": ("perm",),
}
