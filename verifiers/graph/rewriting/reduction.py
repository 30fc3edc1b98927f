"""General properties as classification problems, which all verifiers understand.

For each box of a property, and all of its unsafe sets {y : a_i . y <= b_i for all i} with the same number of rows, one
problem: a layer x = centre + radius * z before the network maps the ball |z| <= 1 onto the box, and layers after it
compute m_k = max_i (a_i . y - b_i) for each unsafe set k, with max(a, b) = b + relu(a - b). The logits are
(0, -m_1, ..., -m_K), and label 0 stays on top exactly if no set is reached, because f_0 - f_k = m_k. So the margins of
the problem are the distances from the unsafe sets, in the units of their rows.

Centre and radius are float64, and the radius is rounded up, so that the ball maps onto a set that contains the box in
real arithmetic. A witness is mapped back and clipped to the box, and has to be judged there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.network import Network
from sokbench.core.problem import Ball, Problem

from ..arrangement import Reshape
from ..elementwise import Relu, Softplus
from ..graph import Graph, Node
from ..linear import Linear, Scale
from ..ops import Add
from ..readers.from_torch import trace
from ..readers.module import GraphModule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sokbench.core.property import Case, Conjunction, Property

_BALL = Ball("linf", 1.0, -1.0, 1.0)
_PROPERTY = "property"  # label of the nodes after the network


@dataclass(frozen=True, eq=False)
class Reduced:
    """A problem on |z| <= 1, and the box and unsafe sets it stands for."""

    problem: Problem
    case: Case
    centre: Tensor
    radius: Tensor

    def original(self, z: Tensor) -> NDArray[np.float64]:
        """The input in the box that a witness `z` of the problem stands for, flattened (inputs,)."""
        x: NDArray[np.float64] = (self.centre + self.radius * z.double()).reshape(-1).numpy()
        return np.clip(x, self.case.lower, self.case.upper)


def graph_as_written(network: Network) -> Graph:
    """The graph of `network` in its own type, nothing folded. Raises `Unsupported` as tracing does."""
    module = network.module
    return module.graph() if isinstance(module, GraphModule) else trace(module, network.input_shape)


def reduce_property(network: Network, asked: Property) -> list[Reduced]:
    """Problems such that the property holds if all are verified; each witness of one is a candidate violation.

    Raises `InvalidInput` if the property is about other numbers of inputs or outputs than the network has, and
    `Unsupported` for coefficients that are no float32 numbers and for networks that cannot be traced.
    """
    graph = graph_as_written(network)
    sizes = int(np.prod(graph.input_shape)), int(np.prod(graph.nodes[-1].shape))
    if sizes != (asked.inputs, asked.outputs):
        raise InvalidInput(
            f"the property is about {asked.inputs} inputs and {asked.outputs} outputs, "
            f"but {network.name} has {sizes[0]} and {sizes[1]}"
        )
    return [reduced for case in asked.cases for reduced in _problems(network, graph, case)]


def has_maxima(graph: Graph) -> bool:
    """Whether an unsafe set of the reduced network has several rows."""
    return any(_in_maximum(node) for node in graph.nodes)


def softened(graph: Graph, temperature: float) -> Graph:
    """A reduced network with the maxima over the rows m_i of an unsafe set replaced by T log sum_i exp(m_i / T), which
    is at least as large: max(a, b) = b + relu(a - b), with T log(1 + exp((a - b) / T)) for the ReLU."""
    soft = Softplus(1 / temperature)
    return Graph(tuple(replace(node, op=soft) if _in_maximum(node) else node for node in graph.nodes))


def _in_maximum(node: Node) -> bool:
    return node.label == _PROPERTY and isinstance(node.op, Relu)


def _problems(network: Network, graph: Graph, case: Case) -> Iterator[Reduced]:
    point = case.lower == case.upper
    centre = np.where(point, case.lower, case.lower / 2 + case.upper / 2)
    spread = np.where(point, 0.0, np.nextafter(np.maximum(case.upper - centre, centre - case.lower), np.inf))
    shape = graph.input_shape
    box = Scale(torch.tensor(spread).reshape(shape), torch.tensor(centre).reshape(shape))
    by_rows: dict[int, list[Conjunction]] = defaultdict(list)
    for conjunction in case.unsafe:
        by_rows[len(conjunction.bound)].append(conjunction)
    for unsafe in by_rows.values():
        nodes = _Nodes(graph, box)
        nodes.append_distances(np.stack([c.weight for c in unsafe]), np.stack([c.bound for c in unsafe]))
        built = Graph(tuple(nodes.nodes))
        digest = hashlib.sha256(network.sha256.encode())
        for part in (case.lower, case.upper, *(array for c in unsafe for array in (c.weight, c.bound))):
            digest.update(part.tobytes())
        module = GraphModule(built).eval()
        name = f"{network.name} under a property"
        reduced = Network(name, module, shape, built.num_classes, digest.hexdigest())
        problem = Problem(reduced, torch.zeros(shape), 0, _BALL)
        yield Reduced(problem, replace(case, unsafe=tuple(unsafe)), box.shift, box.scale)


class _Nodes:
    """The nodes of a reduced network while they are put together: first the box, then the network."""

    def __init__(self, graph: Graph, box: Scale) -> None:
        first, *rest = graph.nodes
        self.nodes = [first, Node(box, (0,), graph.input_shape, "box")]
        # node i of the network becomes i + 1, and its input (0) the box (1)
        self.nodes += [Node(node.op, tuple(i + 1 for i in node.inputs), node.shape, node.label) for node in rest]
        if len(graph.nodes[-1].shape) != 1:
            size = int(np.prod(graph.nodes[-1].shape))
            self._append(Reshape((size,)), size, len(self.nodes) - 1)
        self._outputs = len(self.nodes) - 1
        tensors = [tensor for node in graph.nodes for tensor in node.op.tensors().values()]
        types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        # wider tensors are those of `Scale`, which adapts to its input
        self._dtype = min(types, key=lambda each: each.itemsize, default=torch.float32)

    def append_distances(self, weight: NDArray[np.float64], bound: NDArray[np.float64]) -> None:
        """weight (K, R, outputs), bound (K, R): append logits (0, -max_i (weight[k, i] @ y - bound[k, i]))."""
        sets, rows = bound.shape
        if rows == 1:
            self._affine(np.concatenate([np.zeros_like(weight[:1, 0]), -weight[:, 0]]), np.append(0.0, bound[:, 0]))
            return
        found = [self._affine(weight[:, row], -bound[:, row]) for row in range(rows)]
        while len(found) > 1:
            pairs = list(zip(found[::2], found[1::2], strict=False))
            found = [self._maximum(a, b, sets) for a, b in pairs] + found[2 * len(pairs) :]
        logits = np.concatenate([np.zeros((1, sets)), -np.eye(sets)])
        self._append(Linear(self._exact(logits)), sets + 1, found[0])

    def _affine(self, weight: NDArray[np.float64], shift: NDArray[np.float64]) -> int:
        """weight @ y + shift. The shift stays float64 in a node of its own, until the graph is simplified."""
        size = len(shift)
        product = self._append(Linear(self._exact(weight)), size, self._outputs)
        if not shift.any():
            return product
        return self._append(Scale(torch.ones(size, dtype=torch.float64), torch.tensor(shift)), size, product)

    def _maximum(self, a: int, b: int, size: int) -> int:
        minus = Scale(-torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64))
        difference = self._append(Add(), size, a, self._append(minus, size, b))
        return self._append(Add(), size, b, self._append(Relu(), size, difference))

    def _append(self, op: Linear | Scale | Add | Relu | Reshape, size: int, *inputs: int) -> int:
        self.nodes.append(Node(op, inputs, (size,), _PROPERTY))
        return len(self.nodes) - 1

    def _exact(self, weight: NDArray[np.float64]) -> Tensor:
        """As weights of the network's own type, which must hold them exactly: a network computes in one type."""
        cast = torch.tensor(weight).to(self._dtype)
        if not torch.equal(cast.double(), torch.tensor(weight)):
            raise Unsupported("a coefficient of the property is no float32 number")
        return cast
