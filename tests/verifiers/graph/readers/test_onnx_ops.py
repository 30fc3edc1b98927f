"""Every ONNX operator that is read, against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.verifiers.graph.readers.test_onnx_network import numbers, run, save
from verifiers.graph import graph_of
from verifiers.graph.readers.onnx_network import load_onnx

pytest.importorskip("onnxruntime")

IMAGE, ROWS, FLAT = [1, 2, 6, 5], [1, 3, 4], [1, 6]


@dataclass(frozen=True)
class Case:
    """One operator on the input "x" and constants, or a list of nodes that ends in "y"."""

    nodes: str | list[onnx.NodeProto]
    shape: list[Any]
    constants: list[np.ndarray | None] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 13
    outputs: int = 1

    def save(self, path: Path) -> Path:
        names = [f"c{i}" if value is not None else "" for i, value in enumerate(self.constants)]
        held = {name: value for name, value in zip(names, self.constants, strict=True) if value is not None}
        nodes = self.nodes
        if isinstance(nodes, str):
            given = names if "x" in held else ["x", *names]
            nodes = [helper.make_node(nodes, given, ["y", "z"][: self.outputs], name="op", **self.attributes)]
        return save(path, nodes, held, self.shape, self.opset)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


node = helper.make_node
KERNEL, LINE = numbers(4, 2, 3, 2), numbers(4, 3, 3)

CASES: dict[str, Case] = {
    **{
        name.lower(): Case(name, ROWS)
        for name in ("Abs", "Atan", "Erf", "Exp", "Identity", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh")
    },
    **{name.lower(): Case([node("Abs", ["x"], ["a"]), node(name, ["a"], ["y"])], ROWS) for name in ("Sqrt", "Log")},
    "reciprocal": Case([node("Exp", ["x"], ["a"]), node("Reciprocal", ["a"], ["y"])], ROWS),
    "elu": Case("Elu", ROWS, [], {"alpha": 0.5}),
    "leaky": Case("LeakyRelu", ROWS, [], {"alpha": 0.2}),
    "prelu": Case("PRelu", ROWS, [numbers(3, 1)]),
    "hard sigmoid": Case("HardSigmoid", ROWS, [], {"alpha": 0.3}),
    "gelu": Case("Gelu", ROWS, [], {"approximate": "tanh"}, opset=20),
    "clip": Case("Clip", ROWS, [np.float32(-0.5), np.float32(0.5)]),
    "clip from below": Case("Clip", ROWS, [np.float32(0.1)]),
    "clip of old": Case("Clip", ROWS, [], {"min": -0.25}, opset=9),
    "power": Case("Pow", ROWS, [np.float32(2.0)]),
    "cube": Case("Pow", ROWS, [ints(3)]),
    "maximum": Case([node("Neg", ["x"], ["a"]), node("Max", ["x", "a", "c0"], ["y"])], ROWS, [numbers(3, 1)]),
    "minimum": Case("Min", ROWS, [numbers(4)]),
    "sum": Case("Sum", ROWS, [numbers(4), numbers(1, 3, 4)]),
    "square": Case([node("Mul", ["x", "x"], ["y"])], ROWS),
    "quotient": Case([node("Exp", ["x"], ["a"]), node("Div", ["x", "a"], ["y"])], ROWS),
    "constant quotient": Case("Div", ROWS, [numbers(4) + 4]),
    "where": Case([node("Neg", ["x"], ["a"]), node("Where", ["c0", "x", "a"], ["y"])], ROWS, [numbers(4) > 0]),
    "where constant": Case([node("Where", ["c0", "c1", "x"], ["y"])], ROWS, [numbers(4) > 0, numbers(4)]),
    "cast": Case("Cast", ROWS, [], {"to": TensorProto.FLOAT}),
    "softmax": Case("Softmax", ROWS, [], {"axis": 1}),
    "softmax of old": Case("Softmax", ROWS, [], {"axis": 1}, opset=11),
    "log softmax": Case("LogSoftmax", ROWS),
    "layer norm": Case("LayerNormalization", ROWS, [numbers(3, 4), numbers(3, 4)], {"axis": 1}, opset=17),
    "instance norm": Case("InstanceNormalization", IMAGE, [numbers(2), numbers(2)]),
    "gemm": Case("Gemm", FLAT, [numbers(3, 6), numbers(1, 3)], {"transB": 1}),
    "gemm scaled": Case("Gemm", FLAT, [numbers(6, 3), numbers(3)], {"alpha": 0.5, "beta": 2.0}),
    "gemm without bias": Case("Gemm", FLAT, [numbers(6, 3)]),
    "gemm turned": Case([node("Gemm", ["c0", "x", "c1"], ["y"], transB=1)], FLAT, [numbers(3, 6), numbers(3, 1)]),
    "matmul": Case("MatMul", ROWS, [numbers(4, 2)]),
    "matmul of constants": Case([node("MatMul", ["c0", "x"], ["y"])], ROWS, [numbers(2, 3)]),
    "matmul of rows": Case([node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["y"])], ROWS),
    "conv": Case("Conv", IMAGE, [KERNEL, numbers(4)], {"pads": [1, 0, 0, 2], "strides": [2, 1]}),
    "conv same": Case("Conv", IMAGE, [KERNEL], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv same lower": Case("Conv", IMAGE, [KERNEL], {"auto_pad": "SAME_LOWER"}),
    "conv of lines": Case("Conv", ROWS, [LINE, numbers(4)], {"pads": [2, 1], "dilations": [2]}),
    "conv transposed": Case("ConvTranspose", IMAGE, [numbers(2, 3, 3, 2)], {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "max pool": Case("MaxPool", IMAGE, [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "max pool ceil": Case("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
    "average pool": Case("AveragePool", IMAGE, [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "average counted": Case(
        "AveragePool", IMAGE, [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1}
    ),
    "average same": Case("AveragePool", IMAGE, [], {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"}),
    "global average": Case("GlobalAveragePool", IMAGE),
    "global max": Case("GlobalMaxPool", IMAGE),
    "batch norm": Case("BatchNormalization", IMAGE, [numbers(2), numbers(2), numbers(2), np.abs(numbers(2)) + 1]),
    "dropout": Case("Dropout", ROWS, [np.float32(0.5), np.array(False)]),
    "mean": Case("ReduceMean", IMAGE, [], {"axes": [2, 3], "keepdims": 0}),
    "mean of all": Case("ReduceMean", IMAGE, opset=18),
    "reduced sum": Case("ReduceSum", IMAGE, [ints(-1)], {"keepdims": 1}),
    "reduced maximum": Case("ReduceMax", IMAGE, [], {"axes": [1]}),
    "reduced minimum": Case("ReduceMin", IMAGE, [ints(3)], opset=18),
    "concat": Case([node("Concat", ["x", "c0", "x"], ["y"], axis=1)], ROWS, [numbers(1, 2, 4)]),
    "slice": Case("Slice", IMAGE, [ints(5, 0), ints(-9, 3), ints(2, 3), ints(-2, 1)]),
    "slice of old": Case("Slice", IMAGE, [], {"starts": [1], "ends": [4], "axes": [2]}, opset=9),
    "split": Case("Split", IMAGE, [ints(2, 4)], {"axis": 2}, outputs=2),
    "gather": Case("Gather", IMAGE, [ints(3, 0, 3)], {"axis": 2}),
    "gather one": Case("Gather", ROWS, [np.array(1)], {"axis": 1}),
    "gather the batch": Case(
        [node("Gather", ["x", "c0"], ["g"], axis=0), node("Relu", ["g"], ["y"])], ROWS, [np.array(0)]
    ),
    "squeeze": Case([node("Squeeze", ["x"], ["s"]), node("MatMul", ["s", "c0"], ["y"])], ROWS, [numbers(4, 2)]),
    "unsqueeze": Case("Unsqueeze", ROWS, [ints(0, 2)]),
    "expand": Case("Expand", [1, 1, 4], [ints(1, 3, 4)]),
    "tile": Case("Tile", ROWS, [ints(1, 2, 3)]),
    "transpose": Case("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    "transpose the batch": Case("Transpose", ROWS, [], {"perm": [1, 0, 2]}),
    "reshape": Case("Reshape", IMAGE, [ints(0, -1, 4)]),
    "reshape all": Case(
        [node("Reshape", ["x", "c0"], ["f"]), node("MatMul", ["f", "c1"], ["y"])], IMAGE, [ints(-1), numbers(60, 3)]
    ),
    "flatten": Case("Flatten", IMAGE, [], {"axis": 2}),
    "depth to space": Case("DepthToSpace", [1, 4, 2, 3], [], {"blocksize": 2}),
    "resize": Case("Resize", IMAGE, [None, floats(1, 1, 2, 2)], {"mode": "nearest"}),
    "pad": Case("Pad", IMAGE, [ints(0, 0, 1, 0, 0, 1, 0, 2), np.float32(0.5)]),
    "pad of old": Case("Pad", IMAGE, [], {"pads": [0, 0, 1, -1, 0, 0, 0, 2], "value": 1.0}, opset=9),
    "pad reflected": Case("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 1, 0)], {"mode": "reflect"}),
    "shape": Case(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "c0"], ["n"]),
            node("Unsqueeze", ["n", "c0"], ["u"]),
            node("Concat", ["u", "c1"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["y"]),
        ],
        IMAGE,
        [np.array(0), ints(-1)],
    ),
    "no batch": Case(
        [node("MatMul", ["c0", "x"], ["a"]), node("Add", ["a", "c1"], ["y"])], [3], [numbers(2, 3), numbers(2)]
    ),
    "first dimension": Case("MatMul", [5, 3], [numbers(3, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    path = CASES[name].save(tmp_path / "net.onnx")
    network = load_onnx(path)
    x = np.random.default_rng(0).normal(size=CASES[name].shape).astype(np.float32)
    expected = run(path, x).reshape(1, -1)
    batch = torch.from_numpy(x).reshape(1, *network.input_shape)
    assert np.allclose(network(batch).detach().numpy(), expected, atol=2e-6, rtol=2e-6)
    assert np.allclose(graph_of(network).forward(batch.double()).numpy(), expected, atol=2e-6, rtol=2e-6)
    twice = network(torch.cat([batch, batch + 1.0]))
    assert np.allclose(twice[0].detach().numpy(), expected[0], atol=2e-6, rtol=2e-6)
