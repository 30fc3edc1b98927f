"""What the engine asks of a nonlinear operation: its range, its planes, and where tighter inputs would help.

`relu` has the variants of the ReLU that methods choose between, `curves` the other functions of one variable,
`bivariate` those of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.bivariate import Bivariate
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.graph import Graph, Node

from ..sets.inputs import Interval
from .bivariate import pair_interval, pair_planes, pair_settled
from .curves import curve_interval, curve_lines, settled
from .relu import Lines, Relaxation


@dataclass(frozen=True)
class Planes:
    """For every entry, a plane below and one above a function of one or more variables.

    slopes: (lower, upper) for each variable. parallel: lower and upper slopes are equal (back-substitution then keeps
    one row for both sides); flat: all slopes are zero (it then ends there).
    """

    slopes: tuple[tuple[Tensor, Tensor], ...]
    lower_offset: Tensor
    upper_offset: Tensor
    parallel: bool = False
    flat: bool = False


def relax(node: Node, inputs: list[Interval], relaxation: Relaxation) -> Planes:
    """The planes around nonlinear `node` over the intervals of its inputs.

    Raises `Unsupported` for an operation without a relaxation.
    """
    if relaxation.flat:
        low, high = image(node, inputs)
        zero = torch.zeros_like(low)
        return Planes(((zero, zero),) * len(inputs), low, high, flat=True)
    if isinstance(node.op, Relu):
        return _planes(relaxation.relu(*inputs[0]), relaxation.parallel)
    if isinstance(node.op, Elementwise):
        return _planes(curve_lines(node.op, *inputs[0], relaxation), relaxation.parallel)
    if isinstance(node.op, Bivariate):
        below, low, above, high = pair_planes(node.op, *inputs)
        return Planes(tuple(zip(below, above, strict=True)), low, high)
    raise Unsupported(f"no linear relaxation of {node.op.name} at {node.label!r}")


def _planes(lines: Lines, parallel: bool) -> Planes:
    low, low_offset, high, high_offset = lines
    return Planes(((low, high),), low_offset, high_offset, parallel)


def image(node: Node, inputs: list[Interval]) -> Interval:
    """The range of nonlinear `node` over the intervals of its inputs, rounded outward.

    Raises `Unsupported` for an operation without an interval rule.
    """
    if isinstance(node.op, Relu):
        return Interval(inputs[0].lower.clamp(min=0), inputs[0].upper.clamp(min=0))
    if isinstance(node.op, Elementwise):
        return Interval(*curve_interval(node.op, *inputs[0]))
    if isinstance(node.op, Bivariate):
        return Interval(*pair_interval(node.op, *inputs))
    raise Unsupported(f"no interval bounds for {node.op.name} at {node.label!r}")


def needs_rows(node: Node, inputs: list[Interval]) -> Tensor:
    """The entries (B, *shape) of nonlinear `node` whose relaxation would improve with tighter bounds of its inputs."""
    if isinstance(node.op, Relu):
        return ~(inputs[0].lower >= 0) & ~(inputs[0].upper <= 0)
    if isinstance(node.op, Elementwise):
        return ~settled(node.op, *inputs[0])
    if isinstance(node.op, Bivariate):
        return ~pair_settled(node.op, *inputs)
    raise Unsupported(f"no linear relaxation of {node.op.name} at {node.label!r}")


def worth_rows(
    graph: Graph, index: int, intervals: list[Interval], bounded: dict[int, Tensor]
) -> Iterator[tuple[int, Tensor]]:
    """(node, its entries (B, *shape)) that relaxations want tighter bounds of, now that node `index` is known.

    A function of two nodes is asked when both are known. bounded: the entries that were asked for before.
    """
    for user in (graph.nodes[i] for i in graph.consumers[index] if i in graph.nonlinear):
        if max(user.inputs) > index:
            continue
        wanted = needs_rows(user, [intervals[i] for i in user.inputs])
        for source in set(user.inputs):
            before = bounded.get(source)
            bounded[source] = wanted if before is None else wanted | before
            yield source, wanted if before is None else wanted & ~before
