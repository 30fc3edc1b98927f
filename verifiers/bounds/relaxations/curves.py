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

from ..sets.inputs import Interval
from .piecewise import clamp_lines, kinked_interval, kinked_lines
from .relu import ADAPTIVE, Lines, Relaxation
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


def curve_lines(op: Elementwise, lower: Tensor, upper: Tensor, relaxation: Relaxation = ADAPTIVE) -> Lines:
    """Lines below and above `op` on [lower, upper], of any one shape. Raises `Unsupported` for one not known.

    relaxation: leaky ReLU and absolute value take their slopes from those of ReLU; the others look at `parallel` alone.
    Where a line cannot be had in floating point (an interval so wide that its products overflow), it is flat.
    """
    if isinstance(op, Clamp):
        lines = clamp_lines(op.low, op.high, lower, upper, relaxation.parallel)
    elif isinstance(op, (LeakyRelu, Abs)):
        lines = kinked_lines(_left_slope(op), lower, upper, relaxation)
    else:
        lines = tangent_lines(_curve(op), lower, upper, relaxation.parallel)
    return _flat_where_better(lines, lower, upper, curve_interval(op, lower, upper), relaxation.parallel)


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


def _flat_where_better(lines: Lines, lower: Tensor, upper: Tensor, image: Interval, parallel: bool) -> Lines:
    """The constants `image` instead of a line that is not finite or nowhere better; NaN where nothing is finite.

    parallel: both sides are replaced if one is.
    """
    below, low, above, high = lines
    use_low = torch.maximum(below * lower + low, below * upper + low) >= image.lower
    use_high = torch.minimum(above * lower + high, above * upper + high) <= image.upper
    use_low, use_high = use_low & (below + low).isfinite(), use_high & (above + high).isfinite()
    if parallel:
        use_low = use_high = use_low & use_high
    least, most = (torch.where(bound.isfinite(), bound, torch.nan) for bound in image)
    return Lines(
        torch.where(use_low, below, 0.0 * least),
        torch.where(use_low, low, least),
        torch.where(use_high, above, 0.0 * most),
        torch.where(use_high, high, most),
    )
