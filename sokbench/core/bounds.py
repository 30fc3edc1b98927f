"""Bounds of every node of a network, for those who build on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import component

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Network
    from .problem import Ball


def bounds(network: Network, x: Tensor, ball: Ball, method: str = "crown") -> list[Any]:
    """Bounds of every node of the network's graph, input first and logits last, rounded outward.

    x: (B, *input_shape); method: a bounding method that propagates bounds, such as "ibp" or "crown". Each entry has
    `label` (the node's name in the module or file), `operation`, `lower` and `upper` (B, *shape), float64.
    Raises `UnknownName`, `InvalidInput` and `Unsupported` as the methods do.
    """
    found: list[Any] = component("verifiers.bounds").bounds(network, x, ball, method)
    return found
