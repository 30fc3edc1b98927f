"""Runs a plan whose bounds are carried forward: one input of the batch after the other, node by node.

As in `propagation`, interval bounds are computed everywhere, and of each bound that a relaxation wants the better of
the two is kept. Costs, per input, as many forward passes as there are variables (input coordinates, and for zonotopes
relaxed neurons), whatever the number of neurons or classes that are bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline
from verifiers.graph.graph import Graph
from verifiers.graph.ops import Add, LinearOp

from ..interval import meet, propagate
from ..plans import Plan
from ..propagation import run
from ..relaxations.nonlinear import relax, worth_rows
from ..rounding import Outward
from ..sets.inputs import InputSet, Interval
from ..state import Bounds
from .ending import ending, last_nonlinear
from .forms import Domain, Forms, Variables, added, affine, least, ranges

_COPIES = 6  # forms of a node and its input, and what is made of them on the way
_BYTES = 6 << 30  # of forms; a node that takes more ends in `MemoryError`


@dataclass
class _Walk:
    """One input on its way through the graph."""

    graph: Graph
    plan: Plan
    domain: Domain
    variables: Variables
    rounding: Outward
    intervals: list[Interval] = field(default_factory=list)
    forms: dict[int, Forms] = field(default_factory=dict)
    bounded: dict[int, Tensor] = field(default_factory=dict)
    count: int = 0
    """How many variables there are."""

    def step(self, index: int) -> None:
        """Forms of node `index`."""
        node, size = self.graph.nodes[index], self.variables.size
        sources = [self.forms[i] for i in node.inputs]
        _check_memory(self.count, max(math.prod(self.graph.nodes[i].shape) for i in (index, *node.inputs)))
        if isinstance(node.op, LinearOp):
            forms = affine(sources[0], self.graph, index, size)
        elif isinstance(node.op, Add):
            forms = added(sources[0], sources[1], size)
        else:
            assert self.plan.relaxation is not None
            intervals = [self.intervals[i] for i in node.inputs]
            planes = relax(node, intervals, self.plan.relaxation)
            forms = self.domain.relaxed(planes, sources, intervals, self.count, size)
        self.forms[index] = forms
        self.count = max(self.count, len(forms.values))
        for source in set(node.inputs):
            if self.graph.consumers[source][-1] == index:
                del self.forms[source]

    def refine(self, index: int, wanted: Tensor) -> None:
        """The better bounds of the `wanted` (1, *shape) entries of node `index`."""
        if not bool(wanted.any()):
            return
        at_once = max(1, self.plan.chunk_bytes // (_COPIES * 8 * self.count))
        low, high = ranges(self.forms[index], wanted[0], self.variables, at_once)
        lower, upper = self.intervals[index].lower.clone(), self.intervals[index].upper.clone()
        lower[wanted], upper[wanted] = torch.fmax(lower[wanted], low), torch.fmin(upper[wanted], high)
        self.intervals[index] = Interval(lower, upper)


def run_forward(
    graph: Graph,
    inputs: InputSet,
    plan: Plan,
    deadline: Deadline,
    labels: Tensor | None = None,
    everywhere: bool = False,
) -> tuple[Bounds, Tensor | None, bool]:
    """(intervals of all nodes but the last, margins, whether all of the plan was carried out before the deadline).

    The margins are lower bounds (B, C - 1) as `propagation.margins` has them, from the forms; None without labels.
    everywhere: bound every entry of every node, the last one included. After the deadline the remaining nodes get
    intervals only, which are sound. Raises `MemoryError` where the forms of a node would not fit.
    """
    hull = inputs.interval()
    batch = len(hull.lower)
    # for l_p balls these use the dual norm of the first layer's rows, which intervals from the hull do not
    plain, _ = run(graph, inputs, Plan(None, intermediate=False), Outward(), graph.magnitudes, deadline)
    walks = [_walk(graph, inputs, plan, slice(b, b + 1), deadline, plain, everywhere) for b in range(batch)]
    bounds = Bounds(graph, inputs, Outward())
    for sides in zip(*(walk.intervals for walk in walks), strict=True):
        bounds.append(Interval(torch.cat([s.lower for s in sides]), torch.cat([s.upper for s in sides])))
    complete = all(walk.forms for walk in walks)
    if labels is None or not complete:
        return bounds, None, complete
    return bounds, torch.stack([_margins(walk, int(label)) for walk, label in zip(walks, labels, strict=True)]), True


def _walk(
    graph: Graph, inputs: InputSet, plan: Plan, owner: slice, deadline: Deadline, plain: Bounds, everywhere: bool
) -> _Walk:
    """One input's walk; it ends without forms if the deadline passed."""
    assert plan.domain is not None
    rounding, hull = Outward(), inputs.interval()
    walk = _Walk(graph, plan, plan.domain(), Variables(inputs, owner, graph.input_shape), rounding)
    walk.intervals.append(Interval(hull.lower[owner], hull.upper[owner]))
    walk.forms[0] = walk.variables.start()
    walk.count = len(walk.forms[0].values)
    end = graph.output if everywhere else last_nonlinear(graph)
    for index, node in enumerate(graph.nodes):
        if index == 0 or (index == graph.output and end < index):
            continue
        sources = [walk.intervals[i] for i in node.inputs]
        size = partial(rounding.size, *sources[0])
        interval = propagate(graph, index, sources, graph.magnitudes[index], size, rounding)
        if index < len(plain.intervals):
            interval = meet(interval, Interval(*(side[owner] for side in plain.intervals[index])))
        walk.intervals.append(interval)
        if not walk.forms or deadline.expired():
            walk.forms.clear()
            continue
        if index > end:
            continue
        walk.step(index)
        if everywhere:
            walk.refine(index, torch.ones_like(walk.intervals[index].lower, dtype=torch.bool))
            continue
        for source, wanted in worth_rows(graph, index, walk.intervals, walk.bounded):
            walk.refine(source, wanted)
    return walk


def _margins(walk: _Walk, label: int) -> Tensor:
    """Lower bounds (C - 1,) of f_y - f_j, the differences fused with the affine operations at the end."""
    rows, constants, slack = ending(walk.graph, label, walk.intervals)
    found = least(walk.forms[last_nonlinear(walk.graph)], rows, constants, walk.variables)
    return walk.rounding.outward(found, slack, -1.0)


def _check_memory(variables: int, entries: int) -> None:
    needed = _COPIES * 8 * variables * entries
    if needed > _BYTES:
        raise MemoryError(
            f"{variables} variables for {entries} values of a layer take about {needed / 2**30:.1f} GiB, more than "
            f"{_BYTES / 2**30:.0f}"
        )
