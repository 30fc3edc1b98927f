"""A network as an ONNX file, for tools of others. What is written is the same function: constants that are no float32
numbers and operations without an exact counterpart are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from sokbench.core.errors import Unsupported
from verifiers.graph import bivariate, convolution, elementwise, linear, ops
from verifiers.graph.arrangement import Pad, Permute, Reshape, Select
from verifiers.graph.rewriting.reduction import graph_as_written

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.network import Network
    from verifiers.graph.graph import Node
    from verifiers.graph.ops import Shape

OPSET = 13
"""The oldest that has everything written here: tools are slow to follow."""


def onnx_bytes(network: Network) -> bytes:
    """The network as a serialized ONNX model with one input of shape (1, *input_shape), which IR version 8 allows.

    Raises `Unsupported`.
    """
    from onnx import TensorProto, checker, helper

    graph = graph_as_written(network)
    writer = _Writer()
    names = ["x"]
    for node in graph.nodes[1:]:
        if type(node.op) not in _WRITERS:
            raise Unsupported(f"{node.op.name} at {node.label!r} cannot be written as ONNX")
        sources = [names[index] for index in node.inputs]
        names.append(_WRITERS[type(node.op)](writer, node, sources, graph.nodes[node.inputs[0]].shape))
    writer.nodes.append(helper.make_node("Identity", [names[-1]], ["y"]))
    shapes = [("x", graph.input_shape), ("y", graph.nodes[-1].shape)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *shape)) for name, shape in shapes]
    built = helper.make_graph(writer.nodes, "network", ends[:1], ends[1:], writer.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


@final
class _Writer:
    """Collects ONNX nodes and constants under names of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Tensor) -> str:
        """Floating point as float32, which must hold it exactly; integers as int64."""
        single = value.detach().cpu().float() if value.is_floating_point() else value
        if value.is_floating_point() and not torch.equal(single.double(), value.detach().cpu().double()):
            raise Unsupported("a constant of the network is no float32 number, which ONNX files hold")
        return self._store(single.numpy())

    def integers(self, *values: int) -> str:
        return self._store(np.array(values, dtype=np.int64))

    def _store(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _linear(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, linear.Linear)
    bias = [] if op.bias is None else [writer.constant(op.bias)]
    if len(shape) == 1:
        return writer.add("Gemm", *inputs, writer.constant(op.weight), *bias, transB=1)
    product = writer.add("MatMul", *inputs, writer.constant(op.weight.T))
    return writer.add("Add", product, *bias) if bias else product


def _scale(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, linear.Scale)
    (value,) = inputs
    if bool((op.scale != 1).any()):
        value = writer.add("Mul", value, writer.constant(op.scale))
    return writer.add("Add", value, writer.constant(op.shift)) if bool(op.shift.any()) else value


def _conv(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, convolution.Conv2d)
    weights = [writer.constant(tensor) for tensor in (op.weight, op.bias) if tensor is not None]
    return writer.add(
        "Conv", *inputs, *weights, strides=op.stride, pads=(*op.padding, *op.padding), dilations=op.dilation,
        group=op.groups, kernel_shape=tuple(op.weight.shape[2:]),
    )  # fmt: skip


def _average_pool(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, convolution.AvgPool2d)
    pads = (*op.padding, *op.padding)
    return writer.add("AveragePool", *inputs, kernel_shape=op.kernel, strides=op.stride, pads=pads, count_include_pad=1)


def _batch_norm(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, ops.BatchNorm)
    constants = [writer.constant(tensor) for tensor in (op.weight, op.bias, op.mean, op.variance)]
    return writer.add("BatchNormalization", *inputs, *constants, epsilon=op.eps)


def _reshape(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    return writer.add("Reshape", *inputs, writer.integers(1, *node.shape))


def _permute(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, Permute)
    return writer.add("Transpose", *inputs, perm=[0, *(axis + 1 for axis in op.order)])


def _select(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, Select)
    return writer.add("Gather", *inputs, writer.integers(*op.indices), axis=op.axis % len(shape) + 1)


def _pad(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, Pad)
    return writer.add("Pad", *inputs, writer.integers(0, *op.before, 0, *op.after))


def _leaky_relu(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, elementwise.LeakyRelu)
    return writer.add("LeakyRelu", *inputs, alpha=op.slope)


def _clamp(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, elementwise.Clamp)
    low, high = (writer.constant(torch.tensor(bound, dtype=torch.float64)) for bound in (op.low, op.high))
    return writer.add("Clip", *inputs, low, high)


def _elu(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    op = node.op
    assert isinstance(op, elementwise.Elu)
    return writer.add("Elu", *inputs, alpha=op.alpha)


def _square(writer: _Writer, node: Node, inputs: list[str], shape: Shape) -> str:
    return writer.add("Mul", *inputs, *inputs)


def _named(kind: str) -> Callable[[_Writer, Node, list[str], Shape], str]:
    return lambda writer, node, inputs, shape: writer.add(kind, *inputs)


_WRITERS: dict[type[Any], Callable[[_Writer, Node, list[str], Shape], str]] = {
    linear.Linear: _linear,
    linear.Scale: _scale,
    convolution.Conv2d: _conv,
    convolution.AvgPool2d: _average_pool,
    ops.BatchNorm: _batch_norm,
    ops.Add: _named("Add"),
    Reshape: _reshape,
    Permute: _permute,
    Select: _select,
    Pad: _pad,
    bivariate.Mul: _named("Mul"),
    bivariate.Max: _named("Max"),
    elementwise.Relu: _named("Relu"),
    elementwise.LeakyRelu: _leaky_relu,
    elementwise.Abs: _named("Abs"),
    elementwise.Clamp: _clamp,
    elementwise.Sigmoid: _named("Sigmoid"),
    elementwise.Tanh: _named("Tanh"),
    elementwise.Arctan: _named("Atan"),
    elementwise.Elu: _elu,
    elementwise.Exp: _named("Exp"),
    elementwise.Log: _named("Log"),
    elementwise.Sqrt: _named("Sqrt"),
    elementwise.Square: _square,
    elementwise.Reciprocal: _named("Reciprocal"),
}
