"""Small networks as ONNX files, written with the `onnx` package as exporters do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Layers = list[tuple[list[list[float]], list[float]]]


def bump(centre: float, width: float) -> Layers:
    """A network of one input: y = (height of a bump at `centre`, which is 1 there and 0 beyond `width`; 0.5)."""
    slope = 1.0 / width
    hidden = ([[slope], [slope], [slope]], [1 - slope * centre, -slope * centre, -1 - slope * centre])
    return [hidden, ([[1.0, -2.0, 1.0], [0.0, 0.0, 0.0]], [0.0, 0.5])]


def write_chain(path: Path, layers: Layers, shape: tuple[int, ...] | None = None) -> Path:
    """A chain of Gemm with Relu between. shape: of the input as declared, (1, inputs) by default."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "x"
    for number, (weight, bias) in enumerate(layers):
        for name, array in ((f"w{number}", weight), (f"b{number}", bias)):
            constants.append(numpy_helper.from_array(np.array(array, dtype=np.float32), name))
        last = number == len(layers) - 1
        result = "y" if last else f"z{number}"
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [result], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"a{number}"]))
            value = f"a{number}"
    inputs, outputs = len(layers[0][0][0]), len(layers[-1][1])
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or (1, inputs))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, outputs))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path
