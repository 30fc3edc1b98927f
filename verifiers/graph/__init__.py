"""Networks as immutable graphs of primitive operations, from torch modules and ONNX files.

`readers` trace modules and read files. The primitives are affine (`linear`, `convolution`, `arrangement`, and the sum
in `ops`), `elementwise` or `bivariate`; that is all that bound propagation sees. `rewriting` has the same network in
other terms: folded and merged, maxima as ReLUs, as matrices, with an output for a property.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from sokbench.core.network import Network

from .graph import Graph, Node
from .readers.from_torch import trace
from .readers.module import GraphModule
from .rewriting.simplify import simplify

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
