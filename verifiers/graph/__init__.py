"""Networks as immutable graphs of primitive operations, from torch modules and ONNX files.

A module is traced (`from_torch`, `aten`, `moved`) or a file is read (`onnx_network`, `onnx_ops`); both readers write
through `build`, and compose what is not primitive (`compose`, `windows`, `recurrent`, `recognize`). The primitives are
affine (`linear`, `convolution`, `arrangement`, and the sum in `ops`), `elementwise` or `bivariate`; that is all that
bound propagation sees. `simplify` folds and merges, `max_to_relu` rewrites for verifiers that know ReLUs only.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from sokbench.core.network import Network

from .from_torch import trace
from .graph import Graph, Node
from .module import GraphModule
from .simplify import simplify

__all__ = ["Graph", "Node", "graph_of", "trace"]

# a network is immutable and tracing one costs more than bounding it; forgotten together with the network
_GRAPHS: WeakKeyDictionary[Network, dict[str, Graph]] = WeakKeyDictionary()


def graph_of(network: Network, device: str = "cpu") -> Graph:
    """The graph of `network` for bounding: float64 on `device`, detached, batch norms folded, dropout removed.

    Raises `Unsupported` for an operation that is not known, naming it and where it stands.
    """
    if network not in _GRAPHS:
        module = network.module
        graph = module.graph() if isinstance(module, GraphModule) else trace(module, network.input_shape)
        _GRAPHS[network] = {"cpu": simplify(graph)}
    held = _GRAPHS[network]
    if device not in held:
        held[device] = held["cpu"].cast(device=device)
    return held[device]
