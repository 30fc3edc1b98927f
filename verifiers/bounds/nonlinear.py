"""What the engine asks of a nonlinear operation: its range, its planes, and where tighter inputs would help.

`relaxations` has the variants of the ReLU that methods choose between, `curves` the other functions of one variable,
`bivariate` those of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.bivariate import Bivariate
from verifiers.graph.elementwise import Elementwise, Relu
from verifiers.graph.graph import Node

from .inputs import Interval
from .relaxations import Lines, Relaxation


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
        from .curves import curve_lines

        return _planes(curve_lines(node.op, *inputs[0], relaxation), relaxation.parallel)
    if isinstance(node.op, Bivariate):
        from .bivariate import pair_planes

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
        from .curves import curve_interval

        return Interval(*curve_interval(node.op, *inputs[0]))
    if isinstance(node.op, Bivariate):
        from .bivariate import pair_interval

        return Interval(*pair_interval(node.op, *inputs))
    raise Unsupported(f"no interval bounds for {node.op.name} at {node.label!r}")


def needs_rows(node: Node, source: Interval) -> Tensor:
    """The entries (B, *shape) of an input of nonlinear `node` whose tighter bounds would improve its relaxation."""
    if isinstance(node.op, Relu):
        return ~(source.lower >= 0) & ~(source.upper <= 0)
    if isinstance(node.op, Elementwise):
        from .curves import settled

        return ~settled(node.op, *source)
    return ~(source.lower == source.upper)
