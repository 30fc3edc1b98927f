"""Networks from ONNX files: agreement with onnxruntime, and one clear line for every broken file."""

from __future__ import annotations

import copy
import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import sokbench
from sokbench.core.errors import InvalidInput
from verifiers.graph import graph_of
from verifiers.graph.readers.onnx_network import load_onnx, onnx_interface

onnxruntime = pytest.importorskip("onnxruntime")


def save(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[object], opset: int = 13
) -> Path:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", [given], [result], initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    if not model.graph.output[0].type.tensor_type.HasField("shape"):
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "classes"]))
    path.write_bytes(model.SerializeToString())
    return path


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def convolutional(path: Path) -> Path:
    weights = {
        "mean": numbers(1, 2, 1, 1), "std": np.abs(numbers(1, 2, 1, 1)) + 1,
        "k1": numbers(4, 2, 3, 3), "b1": numbers(4),
        "gamma": numbers(4), "beta": numbers(4), "mu": numbers(4), "var": np.abs(numbers(4)) + 0.1,
        "k2": numbers(4, 4, 3, 3), "w": numbers(3, 36), "b": numbers(3), "w2": numbers(3, 5), "b2": numbers(5),
        "shape": np.array([0, -1], dtype=np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["x0"]),
        helper.make_node("Div", ["x0", "std"], ["x1"]),
        helper.make_node("Conv", ["x1", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "mu", "var"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Add", ["c2", "r1"], ["a2"]),
        helper.make_node("Relu", ["a2"], ["r2"]),
        helper.make_node("AveragePool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["r3"]),
        helper.make_node("MatMul", ["r3", "w2"], ["m"]),
        helper.make_node("Add", ["m", "b2"], ["y"]),
    ]
    return save(path, nodes, weights, ["batch", 2, 6, 6])


def small(path: Path, **changes: np.ndarray) -> Path:
    weights = {"w": numbers(3, 4), "b": numbers(3)} | changes
    return save(path, [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="head", transB=1)], weights, [1, 4])


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_agrees_with_onnxruntime(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "net.onnx")
    network = sokbench.load_network(str(path))
    x = torch.rand(4, 2, 6, 6)
    expected = run(path, x.numpy())
    assert network.input_shape == (2, 6, 6)
    assert network.num_classes == 5
    assert np.allclose(network(x).detach().numpy(), expected, atol=1e-4)
    assert np.allclose(graph_of(network).forward(x.double()).numpy(), expected, atol=1e-4)


def test_module_is_an_ordinary_module(tmp_path: Path) -> None:
    network = load_onnx(convolutional(tmp_path / "net.onnx"))
    x = torch.rand(2, 2, 6, 6)
    double = copy.deepcopy(network.module).double()
    assert double(x.double()).dtype == torch.float64
    assert torch.allclose(double(x.double()), graph_of(network).forward(x.double()), atol=1e-13)
    assert network(x).dtype == torch.float32
    again = pickle.loads(pickle.dumps(network.module))
    assert torch.equal(again(x), network(x))


def test_compressed_file(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    packed = tmp_path / "net.onnx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    x = torch.rand(2, 4)
    assert torch.equal(load_onnx(packed)(x), load_onnx(path)(x))
    assert load_onnx(packed).sha256 != load_onnx(path).sha256


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.99])
def test_truncated_file(tmp_path: Path, kept: float) -> None:
    path = convolutional(tmp_path / "net.onnx")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InvalidInput) as raised:
        load_onnx(path)
    assert "net.onnx" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_garbage_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(InvalidInput, match="no such file"):
        load_onnx(path)
    path.write_bytes(os.urandom(500))
    with pytest.raises(InvalidInput, match="not a complete ONNX file"):
        load_onnx(path)
    broken = tmp_path / "net.onnx.gz"
    broken.write_bytes(gzip.compress(small(path).read_bytes())[:-20])
    with pytest.raises(InvalidInput, match="not a complete ONNX file"):
        load_onnx(broken)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(small(tmp_path / "net.onnx").read_bytes())
    onnx.save_model(model, tmp_path / "split.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(InvalidInput, match="split"):
        load_onnx(tmp_path / "split.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_must_be_finite(tmp_path: Path, value: float) -> None:
    weight = numbers(3, 4)
    weight[1, 2] = value
    with pytest.raises(InvalidInput, match="NaN or infinity, in w"):
        load_onnx(small(tmp_path / "net.onnx", w=weight))


def test_unknown_operation_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sin", ["x"], ["y"], name="activation_7")]
    with pytest.raises(InvalidInput, match="Sin at 'activation_7' is not known"):
        load_onnx(save(tmp_path / "net.onnx", nodes, {}, [1, 4]))


def test_attributes_that_change_the_meaning_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], output_shape=[9, 9])]
    with pytest.raises(InvalidInput, match="output_shape"):
        load_onnx(save(tmp_path / "net.onnx", nodes, {"w": numbers(1, 2, 3, 3)}, [1, 1, 5, 5]))
    nodes = [helper.make_node("Dropout", ["x", "", "training"], ["y"])]
    with pytest.raises(InvalidInput, match="training"):
        load_onnx(save(tmp_path / "net.onnx", nodes, {"training": np.array(True)}, [1, 4]))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("RandomNormalLike", ["x"], ["y"]), "random"),
        (helper.make_node("Relu", ["x"], ["y"], domain="com.example"), "com.example"),
        (helper.make_node("InstanceNormalization", ["x", "w", "w"], ["y"]), "batch of one"),
        (helper.make_node("Gather", ["w", "i"], ["y"]), "topologically sorted"),
    ],
)
def test_what_is_not_read_is_said(tmp_path: Path, node: onnx.NodeProto, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_onnx(save(tmp_path / "net.onnx", [node], {"w": numbers(3)}, [2, 3, 5]))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'head'"):
        load_onnx(small(tmp_path / "net.onnx", w=numbers(3, 5)))


def test_one_output_is_a_network_but_no_classifier(tmp_path: Path) -> None:
    network = load_onnx(small(tmp_path / "net.onnx", w=numbers(1, 4), b=numbers(1)))
    assert network.num_classes == 1
    with pytest.raises(InvalidInput, match="one output"):
        sokbench.Problem(network, torch.zeros(4), 0, sokbench.Ball("linf", 0.1))


def shared_networks() -> list[Path]:
    """ONNX files beside the data of `SOKBENCH_DATA`, where there are any."""
    data = os.environ.get("SOKBENCH_DATA")
    return sorted(Path(data).glob("vnncomp2021/nets/*/*.onnx")) if data else []


@pytest.mark.skipif(not shared_networks(), reason="SOKBENCH_DATA has no VNN-COMP networks")
def test_vnncomp_networks_agree_with_onnxruntime() -> None:
    for path in shared_networks():
        network, interface = load_onnx(path), onnx_interface(path)
        x = torch.rand(1, *network.input_shape)
        expected = run(path, x.numpy().reshape(interface.input_shape)).reshape(1, -1)
        assert np.allclose(network(x).detach().numpy(), expected, atol=1e-5, rtol=1e-5), path.name
        assert np.allclose(graph_of(network).forward(x.double()).numpy(), expected, atol=1e-5, rtol=1e-5), path.name
    assert len(shared_networks()) >= 30
