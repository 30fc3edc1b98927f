"""Which neuron of a domain to split: estimates from one pass, and the best few of them tried where the rule says so.

gap: where line and activation are furthest apart at the point where the bound is attained, in units of the bound. Ours.
babsr: Bunel et al., JMLR 2020: what the chord's intercept and the neuron's bias contribute. fsb: De Palma et al., 2021:
of every layer the best by babsr and by the intercept alone, each tried on both sides with the parent's slopes and
multipliers; the one whose worse child is best wins. kfsb: Wang et al., NeurIPS 2021 (beta-CROWN): the same with the
best k of all layers. influence: Wang et al., NeurIPS 2018 (Neurify): row entry times the width of the band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from verifiers.bounds.optimized.sweep import Start, Sweep, Trace, Triangles
from verifiers.graph.elementwise import Elementwise

from .domains import Columns

Branching = Literal["gap", "babsr", "fsb", "kfsb", "influence"]
Try = Callable[[Tensor, Tensor], Tensor]
"""(columns (D,), sign +1 or -1 (D,)) -> bounds (D,) of the children that fix these columns."""


@dataclass(frozen=True)
class _Neurons:
    """The columns of one node, (D, n) or (1, n): row entries; distance of the line that each took from the activation
    at the minimiser; for ReLUs the chord, slope and intercept, and the bias of the node before (n,)."""

    entry: Tensor
    distance: Tensor
    chord: Tensor
    intercept: Tensor
    bias: Tensor | float

    def gap(self) -> Tensor:
        return self.entry.abs() * self.distance

    def babsr(self) -> Tensor:
        biased = torch.maximum(self.bias * (self.chord - 1) * self.entry, self.bias * self.chord * self.entry)
        return (biased + self.entry.clamp(max=0) * self.intercept).abs()

    def intercepts(self) -> Tensor:
        return -self.entry.clamp(max=0) * self.intercept

    def influence(self) -> Tensor:
        return self.entry.abs() * self.intercept


_ESTIMATES: dict[Branching, tuple[Callable[[_Neurons], Tensor], ...]] = {
    "gap": (_Neurons.gap,),
    "babsr": (_Neurons.babsr,),
    "fsb": (_Neurons.babsr, _Neurons.intercepts),
    "kfsb": (_Neurons.babsr, _Neurons.intercepts),
    "influence": (_Neurons.influence,),
}


def scores(
    rule: Branching, sweep: Sweep, start: Start, trace: Trace, relus: Triangles, columns: Columns
) -> tuple[Tensor, ...]:
    """The estimates (D, width) that a rule looks at, -inf where there is nothing to split.

    Smooth activations have a gap only, which every rule takes.
    """
    values, estimates = sweep.values(start, trace), _ESTIMATES[rule]
    found = tuple(start.rows.new_full((len(start.rows), columns.width), -torch.inf) for _ in estimates)
    for index, rows in trace.rows.items():
        entries = columns.entries[index]
        if not len(entries):
            continue

        def pick(dense: Tensor, entries: Tensor = entries) -> Tensor:
            return dense.flatten(1)[:, entries]

        node = sweep.graph.nodes[index]
        assert isinstance(node.op, Elementwise)
        z, bias = pick(values[node.inputs[0]]), sweep.offset(node.inputs[0])
        line = pick(trace.slopes[index][0]) * z + pick(trace.offset[index])
        distance, smooth = (line - node.op.apply(z)).abs(), index in relus.curves
        chord, intercept = (distance, distance) if smooth else (pick(relus.chord[index]), pick(relus.offset[index]))
        neurons = _Neurons(pick(rows), distance, chord, intercept, 0.0 if bias is None else bias[entries])
        free = pick(relus.free[index]) > 0
        place = slice(columns.first[index], columns.first[index] + len(entries))
        for estimate, values_of in zip(found, estimates, strict=True):
            estimate[:, place] = torch.where(free, neurons.gap() if smooth else values_of(neurons), -torch.inf)
    return found


def choose(
    rule: Branching, estimates: tuple[Tensor, ...], columns: Columns, candidates: int, attempt: Try
) -> tuple[Tensor, Tensor]:
    """(column (D,) to split, whether there is one (D,)). candidates: k of kfsb."""
    if not columns.width:  # no neuron is unstable
        none = torch.zeros(len(estimates[0]), dtype=torch.long)
        return none, none > 0
    chosen, splittable = estimates[0].argmax(dim=1), estimates[0].amax(dim=1) > -torch.inf
    best = torch.full_like(estimates[0][:, 0], -torch.inf)
    for values, column in _tried(rule, estimates, columns, candidates):
        worse = torch.minimum(attempt(column, torch.ones_like(column)), attempt(column, -torch.ones_like(column)))
        better = (worse > best) & (values > -torch.inf)
        best, chosen = torch.where(better, worse, best), torch.where(better, column, chosen)
    return chosen, splittable


def _tried(
    rule: Branching, estimates: tuple[Tensor, ...], columns: Columns, candidates: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(estimates (D,), columns (D,)) that a rule tries."""
    for estimate in estimates if rule in ("fsb", "kfsb") else ():
        if rule == "kfsb":
            top = estimate.topk(min(candidates, columns.width), dim=1)
            yield from zip(top.values.T, top.indices.T, strict=True)
            continue
        for index, entries in columns.entries.items():
            if len(entries):
                values, place = columns.part(index, estimate).max(dim=1)
                yield values, place + columns.first[index]
