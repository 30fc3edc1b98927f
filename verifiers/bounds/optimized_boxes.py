"""CROWN for many small boxes at once: what splitting the input asks for.

All boxes share one pass per layer, with a row for both sides of every neuron that is unstable on some of them. In
float64, rounded outward. Where networks are small that is ten times as many boxes per second as one after the other.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .inputs import Box, Interval
from .optimized import Relus, Start, Sweep, Triangles, triangles
from .optimized_bounds import Relaxed, both_sides


class BoxBounds:
    """Bounds of rows on parts of the input set of `root`, whose own bounds are never left."""

    def __init__(self, root: Relaxed) -> None:
        self._root = root

    def lower(self, start: Start, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """(bounds (D, N) of the N rows of `start` on the boxes [lower, upper] (D, *shape), rows at the input).

        The rows at the input (D, N, *shape) say how much each coordinate matters for each bound.
        """
        root = self._root
        sweep, count = replace(root.exact, inputs=_boxes(lower, upper)), len(lower)
        bounds: dict[int, Interval] = {}
        for relu in root.graph.relus:
            index = root.graph.nodes[relu].inputs[0]
            low, up = (side.repeat(count, *(1 for _ in side.shape[1:])).flatten(1) for side in root.bounds[relu])
            entries = ((low < 0) & (up > 0)).any(dim=0).nonzero().squeeze(1)
            if len(entries):
                found = self._bounded(sweep, both_sides(root, index, entries), bounds, count)
                low[:, entries] = torch.maximum(low[:, entries], found[:, : len(entries)])
                up[:, entries] = torch.minimum(up[:, entries], -found[:, len(entries) :])
            shape = (count, *root.graph.nodes[relu].shape)
            bounds[relu] = Interval(low.reshape(shape), torch.maximum(low, up).reshape(shape))
        many = _repeated(start, count)
        relus, slopes = _per_row(bounds, len(start.rows))
        pulled, _, _ = sweep.pull(many, relus, slopes, {})
        found = sweep.lower(many, relus, slopes, {}, None).reshape(count, -1)
        rows = torch.zeros(count * len(start.rows), *lower.shape[1:]) if pulled is None else pulled
        return torch.where(found.isnan(), -torch.inf, found), rows.reshape(count, -1, *lower.shape[1:])

    def _bounded(self, sweep: Sweep, start: Start, bounds: dict[int, Interval], count: int) -> Tensor:
        relus, slopes = _per_row(bounds, len(start.rows))
        found = sweep.lower(_repeated(start, count), relus, slopes, {}, None).reshape(count, -1)
        return torch.where(found.isnan(), -torch.inf, found)


def _boxes(lower: Tensor, upper: Tensor) -> Box:
    """Boxes around rounded centres that cover [lower, upper]."""
    centre = (lower + upper) / 2
    radius = torch.maximum(upper - centre, centre - lower)
    return Box(centre, torch.where(radius > 0, torch.nextafter(radius, radius.new_tensor(torch.inf)), radius))


def _repeated(start: Start, count: int) -> Start:
    """The same rows for every box."""
    rows = start.rows.repeat(count, *(1 for _ in start.rows.shape[1:]))
    return Start(start.index, rows, start.constants.repeat(count), start.slack)


def _per_row(bounds: dict[int, Interval], rows: int) -> tuple[Triangles, Relus]:
    """The boxes' triangles and CROWN's slopes, for each of their rows."""
    each = triangles(bounds)
    chord, offset, free, adaptive = (
        {index: values.repeat_interleave(rows, dim=0) for index, values in part.items()}
        for part in (each.chord, each.offset, each.free, each.adaptive)
    )
    return Triangles(chord, offset, free, adaptive), adaptive
