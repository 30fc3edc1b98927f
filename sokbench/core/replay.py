"""Judging a counterexample to a property, as VNN-COMP does and more strictly: float64 must agree with onnxruntime.

VNN-COMP (2023 to 2026) evaluates the input by onnxruntime on the CPU, in float32. The outputs must satisfy the unsafe
set without tolerance; the input may lie outside its box by 1e-4 ("correct up to tolerance"), which a box that holds no
float32 number needs. Here the same network must also violate the property in float64.
"""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .network import Network
    from .property import Property

INPUT_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Replay:
    """outputs: (outputs,) as float32 of onnxruntime where it ran, else of float64; outside: how far the input lies
    outside the nearest box; exact, onnx: by how much the outputs miss the unsafe set (<= 0: they are in it) in float64
    and in onnxruntime, None if that is not installed or the network came from no ONNX file."""

    outputs: NDArray[np.floating[Any]]
    outside: float
    exact: float
    onnx: float | None

    @property
    def valid(self) -> bool:
        return self.exact <= 0.0 and (self.onnx is None or self.onnx <= 0.0)

    @property
    def verdict(self) -> str:
        """In VNN-COMP's words."""
        if not self.valid:
            return "spec_not_violated"
        return "correct" if self.outside == 0.0 else "correct_up_to_tolerance"

    def facts(self) -> dict[str, Any]:
        """For the record."""
        judged_by = "float64" if self.onnx is None else "float64 and onnxruntime"
        found = {"witness": self.verdict, "judged_by": judged_by, "excess_float64": self.exact}
        if self.onnx is not None:
            found["excess_onnxruntime"] = self.onnx
        return {**found, "outside": self.outside} if self.outside else found


def replay(asked: Property, network: Network, x: NDArray[np.float32], onnx: Path | None) -> Replay:
    """Judge `x` (inputs,) as a violation of `asked` by `network`, which was read from the file `onnx` if it was."""
    import torch

    from .evaluation import logits64

    wide = x.astype(np.float64)
    exact: NDArray[np.float64] = logits64(network, torch.tensor(wide).reshape(1, *network.input_shape))[0].numpy()
    outside = min((case.outside(wide) for case in asked.cases), default=float("inf"))
    outputs = None if onnx is None else run_onnx(onnx, x)
    if outputs is None:
        return Replay(exact, outside, asked.violation(wide, exact, INPUT_TOLERANCE), None)
    in_float32 = asked.violation(wide, outputs.astype(np.float64), INPUT_TOLERANCE)
    return Replay(outputs, outside, asked.violation(wide, exact, INPUT_TOLERANCE), in_float32)


def run_onnx(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The flattened outputs of a network file for the input `x` (inputs,); None without onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    data = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        gzip.decompress(data) if path.suffix == ".gz" else data, options, providers=["CPUExecutionProvider"]
    )
    constants = {value.name for value in session.get_overridable_initializers()}
    (asked,) = (value for value in session.get_inputs() if value.name not in constants)
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in asked.shape]
    outputs: NDArray[np.float32] = session.run(None, {asked.name: x.reshape(shape)})[0]
    return outputs.reshape(-1)
