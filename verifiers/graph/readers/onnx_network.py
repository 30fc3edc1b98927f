"""Networks from ONNX files, read with the `onnx` package and executed by torch."""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.network import Network

from ..arrangement import Reshape
from .build import Builder, Value
from .module import GraphModule
from .onnx_ops import Scope, convert


@dataclass(frozen=True)
class OnnxInterface:
    """The input and the output of an ONNX file.

    input_shape: as declared, 1 for an open batch; has_batch: whether its first dimension is the batch
    """

    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    has_batch: bool

    @property
    def member_shape(self) -> tuple[int, ...]:
        """Of one input, `Network.input_shape`; in the same flat order."""
        return self.input_shape[1:] if self.has_batch else self.input_shape


def load_onnx(path: Path) -> Network:
    """The network in an ONNX file (or .onnx.gz), its output flattened to one vector.

    The first dimension of the input is the batch if it is 1 or open and not the only one; a network declared without a
    batch has an input shape of all its dimensions. Inside, a file may drop the batch dimension and make another.
    Raises `InvalidInput`, with one line, for a file that is missing, truncated or no ONNX; NaN or infinity in its
    weights; more than one input or output; an operation that is not known.
    """
    data = _read(path)
    model = _parse(data, path)
    graph = model.graph
    scope: Scope = _constants(graph, path)
    face = _interface(model, path)
    builder = Builder(face.member_shape)
    scope[face.input_name] = Value(0, face.has_batch)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    for node in graph.node:
        _convert(builder, scope, node, opset, path)
    result = scope.get(face.output_name)
    if not isinstance(result, Value):
        raise InvalidInput(f"{path.name} must have one output that depends on its input")
    outputs = math.prod(builder.shape(result))
    if builder.shape(result) != (outputs,):
        result = builder.add(Reshape((outputs,)), result)
    module = GraphModule(builder.build(result)).eval()
    return Network(path.name, module, face.member_shape, outputs, hashlib.sha256(data).hexdigest())


def onnx_interface(path: Path) -> OnnxInterface:
    """What the file calls its input and output. Raises `InvalidInput` as `load_onnx` does."""
    return _interface(_parse(_read(path), path), path)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    return path.read_bytes()


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
    import onnx.external_data_helper
    import onnx.numpy_helper

    constants: dict[str, torch.Tensor] = {}
    if graph.sparse_initializer or any(onnx.external_data_helper.uses_external_data(i) for i in graph.initializer):
        raise InvalidInput(f"{path.name} has sparse weights or weights in other files; save it as one plain file")
    for initializer in graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InvalidInput(f"the weights of {path.name} contain NaN or infinity, in {initializer.name}")
        constants[initializer.name] = torch.from_numpy(values.copy())
    return constants


def _interface(model: Any, path: Path) -> OnnxInterface:
    from onnx import TensorProto

    held = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InvalidInput(
            f"{path.name} has {len(inputs)} inputs and {len(model.graph.output)} outputs; one is expected"
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        raise InvalidInput(f"{path.name}: the input must be float32")
    sizes = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
    if not sizes or any(size is None for size in sizes[len(sizes) > 1 :]):
        raise InvalidInput(f"{path.name}: the input has shape {sizes}; all dimensions but the batch must be known")
    shape = tuple(size or 1 for size in sizes)
    return OnnxInterface(inputs[0].name, shape, model.graph.output[0].name, len(sizes) > 1 and shape[0] == 1)


def _convert(builder: Builder, scope: Scope, node: Any, opset: int, path: Path) -> None:
    builder.where = node.name or node.output[0]
    try:
        results = convert(builder, scope, node, opset)
    except Unsupported as reason:
        raise InvalidInput(f"{path.name}: {reason}") from None
    except KeyError as missing:
        raise InvalidInput(f"{path.name}: {node.op_type} at {builder.where!r} lacks {missing}") from None
    # later outputs of an operator are optional; one that is used and not known is reported where it is used
    scope.update(zip(node.output, results, strict=False))
