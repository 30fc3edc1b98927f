"""What methods that compute on a network's graph share, whether they bound margins or decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from sokbench.core.method import Method

if TYPE_CHECKING:
    from sokbench.core.network import Network


class GraphMethod(Method):
    """A method on the graph that `verifiers.graph.graph_of` gives, on the CPU."""

    @final
    def prepare(self, network: Network) -> None:
        """Trace the network's graph and compute the constants that bounding needs."""
        from verifiers.graph import graph_of

        graph = graph_of(network)
        _ = graph.magnitudes, graph.gains
