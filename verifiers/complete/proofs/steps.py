"""A network as the proof checker sees it: a list of steps with plain matrices, nothing of the bound engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sokbench.core.errors import Unsupported
from verifiers.graph import graph_of
from verifiers.graph.arrangement import Reshape
from verifiers.graph.elementwise import Arctan, Relu, Sigmoid, Tanh
from verifiers.graph.ops import Add, LinearOp, Op
from verifiers.graph.rewriting.affine import AffineLayer, as_matrix
from verifiers.graph.rewriting.max_to_relu import max_to_relu

from .curves import ARCTAN, SIGMOID, TANH, Curve

if TYPE_CHECKING:
    from sokbench.core.network import Network

_DENSE = 0.05  # share of entries beyond which a dense product is faster than a sparse one
_CURVES: dict[type[Op], Curve] = {Sigmoid: SIGMOID, Tanh: TANH, Arctan: ARCTAN}


@dataclass(frozen=True, eq=False)
class Matrix:
    """z = weight @ x + bias up to `weight_error` in the l1 norm of a row of the weight, and `bias_error`; magnitude:
    |weight|; terms: the most products summed, in either direction."""

    weight: Any  # (out, in), an array or a sparse one
    magnitude: Any
    bias: NDArray[np.float64]
    terms: int
    weight_error: float
    bias_error: float

    def part(self, rows: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64]]:
        """(weight, its magnitude, which columns) of these rows, the columns where they are not zero."""
        if len(rows) == len(self.bias):
            return self.weight, self.magnitude, np.arange(self.weight.shape[1])
        weight = self.weight[rows]
        if isinstance(weight, np.ndarray):
            return weight, self.magnitude[rows], np.arange(weight.shape[1])
        used = np.unique(weight.indices)
        weight = csr_array(weight[:, used])
        return weight, abs(weight), used.astype(np.int64)

    def data_error(self, reach: NDArray[np.float64]) -> float:
        """How far the rounding of weight and bias can put an entry off, for inputs of magnitudes `reach` (in,)."""
        return float(self.weight_error * reach.max(initial=0.0) + self.bias_error)


@dataclass(frozen=True, eq=False)
class Step:
    """One value (width,) of a network: its input (no sources), a ReLU or curve of one source, a matrix of one, or a sum
    of two. sources: which of the steps before; is_exact: whether intervals that begin with a box give its range."""

    sources: tuple[int, ...]
    width: int
    matrix: Matrix | None = None
    is_relu: bool = False
    curve: Curve | None = None
    is_exact: bool = False


def steps_of(network: Network) -> list[Step]:
    """The nodes of the graph, flattened, maxima written as ReLUs. Raises `Unsupported` for anything but affine
    maps, sums, ReLUs and what they can express, sigmoid, tanh and arctan."""
    graph = max_to_relu(graph_of(network))
    steps: list[Step] = []
    place: dict[int, int] = {}
    boxes = {0}  # steps whose values are a box if the inputs are one
    for index, node in enumerate(graph.nodes):
        sources = tuple(place[source] for source in node.inputs)
        if isinstance(node.op, Reshape):  # the same numbers
            place[index] = sources[0]
            continue
        place[index], width = len(steps), math.prod(node.shape)
        if isinstance(node.op, LinearOp):
            matrix = _matrix(as_matrix(node.op, graph.nodes[node.inputs[0]].shape, node.shape))
            if sources[0] in boxes and matrix.terms <= 1:
                boxes.add(len(steps))
            steps.append(Step(sources, width, matrix, is_exact=sources[0] in boxes))
        elif not sources or isinstance(node.op, Relu | Add) or type(node.op) in _CURVES:
            curve = _CURVES.get(type(node.op))
            steps.append(Step(sources, width, is_relu=isinstance(node.op, Relu), curve=curve))
        else:
            known = "affine maps, sums, ReLUs, sigmoid, tanh and arctan"
            raise Unsupported(f"proofs know {known}, not {node.op.name} at {node.label!r}")
    return steps


def _matrix(layer: AffineLayer) -> Matrix:
    sparse = layer.weight
    rows, columns = np.diff(sparse.indptr), np.bincount(sparse.indices, minlength=1)
    terms = int(max(rows.max(initial=0), columns.max(initial=0)))
    dense = sparse.nnz > _DENSE * math.prod(sparse.shape)
    weight: Any = sparse.toarray() if dense else csr_array(sparse)
    return Matrix(weight, abs(weight), layer.bias, terms, layer.weight_error, layer.bias_error)
