"""Which neuron of a domain to split: estimates from one pass, then the best few tried (FSB)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verifiers.bounds.optimized import Start, Sweep, Trace, Triangles

from .domains import Columns

Try = Callable[[Tensor, Tensor], Tensor]
"""(columns (D,), sign +1 or -1 (D,)) -> bounds (D,) of the children that fix these columns."""


def scores(sweep: Sweep, start: Start, trace: Trace, relus: Triangles, columns: Columns) -> tuple[Tensor, ...]:
    """Three estimates (D, width) of what splitting each neuron gains, -inf where there is nothing to split.

    The first compares lines and ReLU where the bound is attained: the gap |a| |line(z*) - relu(z*)| of the neuron at
    the minimiser. The second is BaBSR's (Bunel et al., JMLR 2020): the chord's intercept times the row entry, with the
    change of the term that the neuron's bias contributes; alone it needed up to 50 times as many domains. The third
    is the influence of Neurify (Wang et al., NeurIPS 2018): the row entry times the width of the band.
    """
    values = sweep.values(start, trace)
    count = len(start.rows)
    first = start.rows.new_full((count, columns.width), -torch.inf)
    second, third = first.clone(), first.clone()
    for index, rows in trace.rows.items():
        entries = columns.entries[index]
        if not len(entries):
            continue

        def pick(dense: Tensor, entries: Tensor = entries) -> Tensor:
            return dense.flatten(1)[:, entries]

        source = sweep.graph.nodes[index].inputs[0]
        a, z = pick(rows), pick(values[source])
        chord, offset = pick(relus.chord[index]), pick(relus.offset[index])
        line = pick(trace.slopes[index][0]) * z + pick(trace.offset[index])
        bias = sweep.offset(source)
        b = 0.0 if bias is None else bias[entries]
        biased = torch.maximum(b * (chord - 1) * a, b * chord * a)
        free = pick(relus.free[index]) > 0
        place = slice(columns.first[index], columns.first[index] + len(entries))
        first[:, place] = torch.where(free, a.abs() * (line - z.clamp(min=0)).abs(), -torch.inf)
        second[:, place] = torch.where(free, (biased + a.clamp(max=0) * offset).abs(), -torch.inf)
        third[:, place] = torch.where(free, a.abs() * offset, -torch.inf)
    return first, second, third


def choose(estimates: tuple[Tensor, ...], candidates: int, attempt: Try) -> tuple[Tensor, Tensor]:
    """(column (D,) to split, whether there is one (D,)).

    candidates: of each estimate that are tried on both sides with the parent's slopes and multipliers; the one whose
    worse child is best wins (De Palma et al., filtered smart branching, 2021). 1: the best of the first estimate.
    """
    if not estimates[0].shape[1]:  # no neuron is unstable
        none = torch.zeros(len(estimates[0]), dtype=torch.long)
        return none, none > 0
    splittable = estimates[0].amax(dim=1) > -torch.inf
    if candidates <= 1:
        return estimates[0].argmax(dim=1), splittable
    best = torch.full_like(estimates[0][:, 0], -torch.inf)
    chosen = estimates[0].argmax(dim=1)
    for estimate in estimates:
        top = estimate.topk(min(candidates, estimate.shape[1]), dim=1)
        for values, column in zip(top.values.T, top.indices.T, strict=True):
            worse = torch.minimum(attempt(column, torch.ones_like(column)), attempt(column, -torch.ones_like(column)))
            better = (worse > best) & (values > -torch.inf)
            best, chosen = torch.where(better, worse, best), torch.where(better, column, chosen)
    return chosen, splittable
