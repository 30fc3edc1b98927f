"""ONNX operators as graph operations, one function per operator.

A value in scope is either a node of the graph being built (its index) or a constant tensor; operators whose inputs
are all constant are evaluated where exporters leave such chains (Constant, Reshape, Transpose, ... of weights).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from .graph import Builder
from .ops import Add, AvgPool2d, BatchNorm, Conv2d, Linear, Op, Permute, Relu, Reshape, Scale

Value = int | Tensor


@dataclass
class Scope:
    """The graph under construction and the values that have names so far."""

    builder: Builder
    values: dict[str, Value] = field(default_factory=dict)

    def inputs(self, node: Any) -> list[Value | None]:
        return [self.values[name] if name else None for name in node.input]

    def constant(self, value: Value | None, label: str) -> Tensor:
        if not isinstance(value, Tensor):
            raise Unsupported(f"{label!r}: an argument that must be constant depends on the input")
        return value

    def add(self, op: Op, value: Value | None, label: str) -> int:
        if not isinstance(value, int):
            raise Unsupported(f"{op.name} at {label!r} of a constant")
        return self.builder.add(op, (value,), label)


Handler = Callable[[Scope, Any, str], Value]


def convert(scope: Scope, node: Any, label: str) -> Value:
    """The value of an ONNX node. Raises `Unsupported` for an operator, or an attribute of one, that is not known."""
    if node.op_type not in HANDLERS:
        raise Unsupported(f"the operation {node.op_type} at {label!r} is not known")
    for name in _attributes(node):
        if name not in _KNOWN_ATTRIBUTES.get(node.op_type, ()):
            raise Unsupported(f"{node.op_type} at {label!r} with the attribute {name}")
    return HANDLERS[node.op_type](scope, node, label)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx.helper

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constant(scope: Scope, node: Any, label: str) -> Value:
    import onnx.numpy_helper

    return torch.from_numpy(onnx.numpy_helper.to_array(_attributes(node)["value"]).copy())


def _identity(scope: Scope, node: Any, label: str) -> Value:
    return scope.values[node.input[0]]


def _dropout(scope: Scope, node: Any, label: str) -> Value:
    training = scope.inputs(node)[2] if len(node.input) > 2 else None
    if training is not None and bool(scope.constant(training, label).any()):
        raise Unsupported(f"Dropout at {label!r} in training mode")
    return scope.values[node.input[0]]


def _relu(scope: Scope, node: Any, label: str) -> Value:
    return scope.add(Relu(), scope.values[node.input[0]], label)


def _gemm(scope: Scope, node: Any, label: str) -> Value:
    a, b, c = [*scope.inputs(node), None][:3]
    attributes = _attributes(node)
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
        raise Unsupported(f"Gemm at {label!r} with alpha, beta or transA")
    weight = scope.constant(b, label)
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = None if c is None else scope.constant(c, label).reshape(-1).expand(weight.shape[0]).clone()
    return scope.add(Linear(weight.contiguous(), bias), a, label)


def _matmul(scope: Scope, node: Any, label: str) -> Value:
    a, b = scope.inputs(node)
    if isinstance(a, Tensor) and isinstance(b, int):  # W @ x with x a column per input: the batch is no longer first
        raise Unsupported(f"MatMul at {label!r} with the constant on the left")
    weight = scope.constant(b, label)
    if weight.dim() != 2:
        raise Unsupported(f"MatMul at {label!r} by a constant of {weight.dim()} dimensions")
    return scope.add(Linear(weight.T.contiguous()), a, label)


def _conv(scope: Scope, node: Any, label: str) -> Value:
    x, weight, bias = [*scope.inputs(node), None][:3]
    attributes = _attributes(node)
    kernel = scope.constant(weight, label)
    if kernel.dim() != 4:
        raise Unsupported(f"Conv at {label!r} in {kernel.dim() - 2} dimensions")
    op = Conv2d(
        kernel,
        None if bias is None else scope.constant(bias, label),
        _pair(attributes.get("strides", (1, 1))),
        _padding(attributes, label),
        _pair(attributes.get("dilations", (1, 1))),
        int(attributes.get("group", 1)),
    )
    return scope.add(op, x, label)


def _average_pool(scope: Scope, node: Any, label: str) -> Value:
    attributes = _attributes(node)
    padding = _padding(attributes, label)
    if attributes.get("ceil_mode", 0) or (any(padding) and not attributes.get("count_include_pad", 0)):
        raise Unsupported(f"AveragePool at {label!r} with ceil_mode or without counting the padding")
    op = AvgPool2d(_pair(attributes["kernel_shape"]), _pair(attributes.get("strides", (1, 1))), padding)
    return scope.add(op, scope.values[node.input[0]], label)


def _global_average_pool(scope: Scope, node: Any, label: str) -> Value:
    x = scope.values[node.input[0]]
    if not isinstance(x, int):
        raise Unsupported(f"GlobalAveragePool at {label!r} of a constant")
    height, width = scope.builder.shape(x)[-2:]
    return scope.add(AvgPool2d((height, width), (height, width)), x, label)


def _batch_norm(scope: Scope, node: Any, label: str) -> Value:
    x, *rest = scope.inputs(node)
    weight, bias, mean, variance = (scope.constant(value, label) for value in rest)
    attributes = _attributes(node)
    if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
        raise Unsupported(f"BatchNormalization at {label!r} with training_mode or per-element statistics")
    eps = float(attributes.get("epsilon", 1e-5))
    return scope.add(BatchNorm(weight, bias, mean, variance, eps), x, label)


def _flatten(scope: Scope, node: Any, label: str) -> Value:
    x = scope.values[node.input[0]]
    if _attributes(node).get("axis", 1) != 1:
        raise Unsupported(f"Flatten at {label!r} with an axis other than 1")
    if isinstance(x, Tensor):
        return x.flatten(1)
    size = 1
    for extent in scope.builder.shape(x):
        size *= extent
    return scope.add(Reshape((size,)), x, label)


def _reshape(scope: Scope, node: Any, label: str) -> Value:
    x, target = scope.inputs(node)
    sizes = [int(size) for size in scope.constant(target, label)]
    if isinstance(x, Tensor):
        return x.reshape(sizes)
    if not isinstance(x, int) or not sizes:
        raise Unsupported(f"Reshape at {label!r} of nothing")
    own = (1, *scope.builder.shape(x))
    sizes = [own[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    shape = torch.empty(own, device="meta").reshape(sizes).shape
    if len(shape) < 2 or shape[0] != 1:
        raise Unsupported(f"Reshape at {label!r} to {tuple(sizes)} mixes the batch dimension with others")
    return scope.add(Reshape(tuple(shape[1:])), x, label)


def _transpose(scope: Scope, node: Any, label: str) -> Value:
    x = scope.values[node.input[0]]
    order = _attributes(node).get("perm")
    if isinstance(x, Tensor):
        return x.permute(order) if order else x.permute(*reversed(range(x.dim())))
    if not order or order[0] != 0:
        raise Unsupported(f"Transpose at {label!r} moves the batch dimension")
    return scope.add(Permute(tuple(int(axis) - 1 for axis in order[1:])), x, label)


def _add(scope: Scope, node: Any, label: str) -> Value:
    a, b = scope.inputs(node)
    if isinstance(a, int) and isinstance(b, int):
        if scope.builder.shape(a) != scope.builder.shape(b):
            raise Unsupported(f"Add at {label!r} of different shapes")
        return scope.builder.add(Add(), (a, b), label)
    x, constant = (a, b) if isinstance(a, int) else (b, a)
    return _scale(scope, x, torch.ones(()), scope.constant(constant, label), label)


def _sub(scope: Scope, node: Any, label: str) -> Value:
    a, b = scope.inputs(node)
    if isinstance(b, Tensor):
        return _scale(scope, a, torch.ones(()), -b, label)
    if isinstance(a, Tensor):
        return _scale(scope, b, -torch.ones(()), a, label)
    negative = _scale(scope, b, -torch.ones(()), torch.zeros(()), label)
    if not isinstance(a, int):
        raise Unsupported(f"Sub at {label!r} of nothing")
    return scope.builder.add(Add(), (a, negative), label)


def _mul(scope: Scope, node: Any, label: str) -> Value:
    a, b = scope.inputs(node)
    x, constant = (a, b) if isinstance(a, int) else (b, a)
    return _scale(scope, x, scope.constant(constant, label), torch.zeros(()), label)


def _div(scope: Scope, node: Any, label: str) -> Value:
    x, divisor = scope.inputs(node)
    inverse = 1.0 / scope.constant(divisor, label).double()  # one rounding
    return _scale(scope, x, inverse, torch.zeros(()), label, roundings=1)


def _scale(scope: Scope, x: Value | None, scale: Tensor, shift: Tensor, label: str, roundings: int = 0) -> int:
    if not isinstance(x, int):
        raise Unsupported(f"{label!r} combines constants only")
    dimensions = len(scope.builder.shape(x))
    parts = []
    for constant in (scale, shift):
        if constant.dim() > dimensions and constant.shape[0] != 1:
            raise Unsupported(f"the constant of shape {tuple(constant.shape)} at {label!r} mixes the batch dimension")
        parts.append((constant[0] if constant.dim() > dimensions else constant).double())
    return scope.add(Scale(parts[0], parts[1], roundings), x, label)


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def _padding(attributes: dict[str, Any], label: str) -> tuple[int, int]:
    automatic = attributes.get("auto_pad", b"NOTSET")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if automatic not in (b"NOTSET", b"VALID") or top != bottom or left != right:
        raise Unsupported(f"padding that differs between sides at {label!r}")
    return int(top), int(left)


HANDLERS: dict[str, Handler] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Constant": _constant,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _mul,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sub": _sub,
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
