"""Networks from ONNX files, read with the `onnx` package and executed by torch."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.network import Network

from .build import Builder, Value
from .module import GraphModule
from .onnx_ops import Scope, convert


def load_onnx(path: Path) -> Network:
    """The classifier in an ONNX file (or .onnx.gz).

    Raises `InvalidInput`, with one line, for a file that is missing, truncated or no ONNX; NaN or infinity in its
    weights; more than one input; an operation that is not known; an output that is not one score per class.
    """
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    data = path.read_bytes()
    model = _parse(data, path)
    graph = model.graph
    scope: Scope = _constants(graph, path)
    inputs = [value for value in graph.input if value.name not in scope]
    if len(inputs) != 1:
        raise InvalidInput(f"{path.name} has {len(inputs)} inputs; one is expected")
    builder = Builder(_input_shape(inputs[0], path))
    scope[inputs[0].name] = Value(0)
    for node in graph.node:
        _convert(builder, scope, node, path)
    result = scope.get(graph.output[0].name) if len(graph.output) == 1 else None
    if not isinstance(result, Value):
        raise InvalidInput(f"{path.name} must have one output that depends on its input")
    built = builder.build(result)
    shape = built.nodes[-1].shape
    if len(shape) != 1 or shape[0] < 2:
        raise InvalidInput(f"{path.name} maps one input to shape {shape}; a classifier gives (classes,)")
    module = GraphModule(built).eval()
    return Network(path.name, module, built.input_shape, shape[0], hashlib.sha256(data).hexdigest())


def _parse(data: bytes, path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(gzip.decompress(data) if path.suffix == ".gz" else data)
        onnx.checker.check_model(model)
    except (DecodeError, EOFError, OSError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(f"{path.name} is not a complete ONNX file: {reason}") from None
    return model


def _constants(graph: Any, path: Path) -> dict[str, torch.Tensor]:
    import onnx.numpy_helper

    constants: dict[str, torch.Tensor] = {}
    for initializer in graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InvalidInput(f"the weights of {path.name} contain NaN or infinity, in {initializer.name}")
        constants[initializer.name] = torch.from_numpy(values.copy())
    return constants


def _input_shape(value: Any, path: Path) -> tuple[int, ...]:
    """The shape of one input: the declared one without its first dimension, which is the batch."""
    from onnx import TensorProto

    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise InvalidInput(f"{path.name}: the input must be float32")
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    shape = sizes[1:]
    if not shape or any(not size for size in shape):
        raise InvalidInput(f"{path.name}: the input has shape {sizes}; all dimensions but the batch must be known")
    return tuple(int(size) for size in shape if size)


def _convert(builder: Builder, scope: Scope, node: Any, path: Path) -> None:
    where = node.name or node.output[0]
    try:
        scope[node.output[0]] = convert(builder, scope, node, where)
    except Unsupported as reason:
        raise InvalidInput(f"{path.name}: {reason}") from None
    except KeyError as missing:
        raise InvalidInput(f"{path.name}: {node.op_type} at {where!r} lacks {missing}") from None
