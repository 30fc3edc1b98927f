"""Bounds of activations other than ReLU: an interval, two lines, and where nothing is left to gain.

All hold in real arithmetic, for the exact activation: constants are rounded outward by what evaluating it can lose.
A bound that is NaN, or infinite where it matters, and an interval on which the activation is not defined (log, square
root, reciprocal) give NaN: nothing is known. Slopes, offsets and bounds are differentiable in l and u, except that the
place where a tangent touches counts as fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.graph.elementwise import Abs, Clamp, Elementwise, LeakyRelu

from .inputs import Interval
from .piecewise import clamp_lines, kinked_interval, kinked_lines
from .relaxations import Lines
from .shapes import Curve, curve_of
from .tangents import tangent_lines


def curve_interval(op: Elementwise, lower: Tensor, upper: Tensor) -> Interval:
    """The range of `op` on [lower, upper], rounded outward. Raises `Unsupported` for an activation not known."""
    if isinstance(op, Clamp):
        return Interval(op.apply(lower), op.apply(upper))
    if isinstance(op, (LeakyRelu, Abs)):
        return kinked_interval(_left_slope(op), lower, upper)
    curve = _curve(op)
    bottom = torch.minimum(lower.clamp(min=curve.valley), upper)
    at_bottom, at_lower, at_upper = curve.value(bottom), curve.value(lower), curve.value(upper)
    low = at_bottom - curve.value_error(bottom, at_bottom) - curve.sag_at(upper)
    high = torch.maximum(at_lower + curve.value_error(lower, at_lower), at_upper + curve.value_error(upper, at_upper))
    known = curve.defined(lower, upper)
    return Interval(*(torch.where(known, side.clamp(*curve.range), torch.nan) for side in (low, high)))


def curve_lines(op: Elementwise, lower: Tensor, upper: Tensor) -> Lines:
    """Lines below and above `op` on [lower, upper], of any one shape. Raises `Unsupported` for one not known.

    Where a line cannot be had in floating point (an interval so wide that its products overflow), it is flat.
    """
    if isinstance(op, Clamp):
        lines = clamp_lines(op.low, op.high, lower, upper)
    elif isinstance(op, (LeakyRelu, Abs)):
        lines = kinked_lines(_left_slope(op), lower, upper)
    else:
        lines = tangent_lines(_curve(op), lower, upper)
    low, high = curve_interval(op, lower, upper)
    below = _or_flat(lines.lower_slope, lines.lower_offset, lower, upper, low)
    slope, offset = _or_flat(-lines.upper_slope, -lines.upper_offset, lower, upper, -high)
    return Lines(*below, -slope, -offset)


def settled(op: Elementwise, lower: Tensor, upper: Tensor) -> Tensor:
    """Where tighter bounds of the input gain nothing: `op` is affine on [lower, upper], or constant to rounding."""
    if isinstance(op, (LeakyRelu, Abs)):
        return (lower >= 0) | (upper <= 0)
    if isinstance(op, Clamp):
        return (upper <= op.low) | (lower >= op.high) | ((lower >= op.low) & (upper <= op.high))
    low, high = curve_interval(op, lower, upper)
    limits = torch.finfo(low.dtype)
    return high - low <= 64 * limits.eps * torch.maximum(low.abs(), high.abs()) + 4 * limits.tiny


def _curve(op: Elementwise) -> Curve:
    curve = curve_of(op)
    if curve is None:
        raise Unsupported(f"bounds of {op.name} are not available")
    return curve


def _left_slope(op: LeakyRelu | Abs) -> float:
    return op.slope if isinstance(op, LeakyRelu) else -1.0


def _or_flat(slope: Tensor, offset: Tensor, lower: Tensor, upper: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """The line below, or the constant `bound` where that is nowhere less; NaN where neither is finite."""
    better = torch.maximum(slope * lower + offset, slope * upper + offset) >= bound
    usable = better & slope.isfinite() & offset.isfinite()
    flat = torch.where(bound.isfinite(), bound, torch.nan)
    return torch.where(usable, slope, 0.0 * flat), torch.where(usable, offset, flat)
