"""A graph as a torch module, so that networks from files run wherever torch modules do."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import Module

from ..graph import Graph


class GraphModule(Module):
    """Executes a graph. Its tensors are buffers of the module: `.double()`, `.to(device)`, `deepcopy` and
    `state_dict` work as for any other module."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._structure = graph.cast(device="meta")
        for index, node in enumerate(graph.nodes):
            for name, tensor in node.op.tensors().items():
                self.register_buffer(f"{index}_{name}", tensor.detach().clone())

    def graph(self) -> Graph:
        """The graph with the tensors the module holds now."""
        nodes = []
        for index, node in enumerate(self._structure.nodes):
            held = {name: self.get_buffer(f"{index}_{name}") for name in node.op.tensors()}
            nodes.append(replace(node, op=node.op.with_tensors(**held)))
        return Graph(tuple(nodes))

    def forward(self, x: Tensor) -> Tensor:
        return self.graph().forward(x)
