"""The largest certified radius of every input of a batch at once (the protocol of CROWN's Tables 4 and 5).

`sokbench.core.radius` searches for one input with any method. Here all inputs share each step, with a radius of their
own in it, which costs what one bound of a batch costs instead of one bound for each input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sokbench.core.network import Network
from sokbench.core.problem import Norm

from . import margin_bounds
from .plans import Plan, plan_of
from .request import bounding_graph, checked_labels
from .sets.inputs import Box, InputSet, LpBall


def certified_radii(
    network: Network,
    x: Tensor,
    labels: Tensor,
    norm: Norm,
    method: str | Plan = "crown",
    low: float | None = None,
    high: float | None = None,
    start: float = 0.01,
    tolerance: float = 0.001,
) -> Tensor:
    """The largest radius (B,) at which a plan of `verifiers.bounds.plans` certifies each of x (B, *input_shape).

    norm: linf, l2 or l1; low, high: the input box. Brackets by doubling from `start`, then bisects until the bracket is
    within `tolerance` of its upper end. Every radius that is returned was itself certified; 0 where none was, and where
    the network does not predict the label. Raises as `margin_bounds`, and `KeyError` for an l0 ball.
    """
    plan = plan_of(method)
    graph = bounding_graph(network, plan)
    points, labels = x.detach().to(graph.device, torch.float64), checked_labels(graph, x, labels)
    proved = points.new_zeros(len(points))
    refuted = torch.full_like(proved, torch.inf)
    radius = torch.full_like(proved, start)
    largest = 1e6 if low is None or high is None else (high - low) * points[0].numel()
    open_ = torch.arange(len(points), device=points.device)
    while len(open_):
        inputs = _balls(points[open_], radius[open_], norm, low, high)
        certified = (margin_bounds(graph, points[open_], labels[open_], inputs, plan) > 0).all(dim=1)
        proved[open_[certified]] = radius[open_[certified]]
        refuted[open_[~certified]] = radius[open_[~certified]]
        radius = torch.where(refuted.isinf(), 2 * radius, (proved + refuted) / 2)
        close = refuted.isfinite() & (refuted - proved <= (tolerance * refuted).clamp(min=1e-9)) | (proved >= largest)
        open_ = (~close).nonzero().squeeze(1)
    return proved.to(x.device)


def _balls(x: Tensor, radius: Tensor, norm: Norm, low: float | None, high: float | None) -> InputSet:
    if norm == "linf":
        return Box(x, radius, low, high)
    return LpBall(x, radius, {"l2": 2.0, "l1": torch.inf}[norm], low, high)
