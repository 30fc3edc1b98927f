"""Convolutions and pools with every kind of border, from those that are primitive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from ..bivariate import Max
from ..convolution import AvgPool2d, Conv2d, ConvTranspose2d
from ..linear import Linear
from .build import Builder, Operand, Value
from .compose import pad


@dataclass(frozen=True)
class Windows:
    """Where a kernel is laid on the last dimensions, one entry per dimension.

    before, after: rows of padding; ceil: whether a last window may reach beyond the padding.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil: bool = False

    def lifted(self) -> Windows:
        """For images of height 1 instead of lines."""
        before, after = (0, *self.before), (0, *self.after)
        return Windows((1, *self.kernel), (1, *self.stride), before, after, (1, *self.dilation), self.ceil)

    def places(self, axis: int, size: int) -> Tensor:
        """The entries (windows, kernel) under each window of a dimension; outside 0..size-1 in the padding."""
        reach = size + self.before[axis] + self.after[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        stride = self.stride[axis]
        count = (-(-reach // stride) if self.ceil else reach // stride) + 1
        if self.ceil and (count - 1) * stride >= size + self.before[axis]:
            count -= 1  # a window has to start inside the input or the padding before it
        starts = torch.arange(max(count, 0)) * stride - self.before[axis]
        return starts[:, None] + torch.arange(self.kernel[axis]) * self.dilation[axis]


def windows_of(
    dimensions: int, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Windows:
    """From one number for all dimensions or one for each; the stride is the kernel where it is not given; padding may
    have one number for each dimension's beginning and then one for each end."""

    def spread(given: Any) -> tuple[int, ...]:
        values = [given] if isinstance(given, int) else list(given)
        return tuple(values * dimensions if len(values) == 1 else values)

    ends = spread(padding)
    before, after = ends[:dimensions], ends[-dimensions:]
    return Windows(spread(kernel), spread(stride or kernel), before, after, spread(dilation), ceil)


def same_padding(windows: Windows, sizes: Sequence[int], more_before: bool = False) -> Windows:
    """With as much padding as gives ceil(size / stride) windows; the odd row after, or before."""
    ends = []
    for size, kernel, stride, dilation in zip(sizes, windows.kernel, windows.stride, windows.dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        ends.append((total // 2, total - total // 2))
    less, more = zip(*ends, strict=True)
    return replace(windows, before=more, after=less) if more_before else replace(windows, before=less, after=more)


def conv(b: Builder, x: Value, weight: Tensor, bias: Operand, windows: Windows, groups: int) -> Value:
    """weight: (out, in / groups, *kernel); bias: (out,) or None."""
    x = b.batched(x)
    if weight.dim() == 3:
        wide = conv(b, _lift(b, x), weight.unsqueeze(2), bias, windows.lifted(), groups)
        return b.move(wide, lambda t: t.squeeze(-2))
    if weight.dim() != 4:
        raise Unsupported(f"convolution at {b.where!r} in {weight.dim() - 2} dimensions")
    if windows.before != windows.after:
        x, windows = _padded(b, x, windows), replace(windows, before=(0, 0), after=(0, 0))
    stride, padding, dilation = (_pair(part) for part in (windows.stride, windows.before, windows.dilation))
    return b.add(Conv2d(weight, bias, stride, padding, dilation, groups), x)


def conv_transpose(
    b: Builder, x: Value, weight: Tensor, bias: Operand, windows: Windows, extra: tuple[int, ...], groups: int
) -> Value:
    """weight: (in, out / groups, *kernel); the padding of `windows` is cut off the result, `extra` is added to it."""
    x = b.batched(x)
    if weight.dim() == 3:
        wide = conv_transpose(b, _lift(b, x), weight.unsqueeze(2), bias, windows.lifted(), (0, *extra), groups)
        return b.move(wide, lambda t: t.squeeze(-2))
    if weight.dim() != 4:
        raise Unsupported(f"transposed convolution at {b.where!r} in {weight.dim() - 2} dimensions")
    common = tuple(min(ends) for ends in zip(windows.before, windows.after, strict=True))
    stride, padding, dilation = (_pair(part) for part in (windows.stride, common, windows.dilation))
    found = b.add(ConvTranspose2d(weight, bias, stride, padding, dilation, groups, extra=_pair(extra)), x)
    cut = [[c - e for e, c in zip(ends, common, strict=True)] for ends in (windows.before, windows.after)]
    return pad(b, found, [0, 0, *cut[0]], [0, 0, *cut[1]])


def max_pool(b: Builder, x: Value, windows: Windows) -> Value:
    """A tree of maxima along one dimension after the other; padding never wins."""
    for axis in range(len(windows.kernel)):
        back = axis - len(windows.kernel)
        size = b.shape(x)[back]
        places = windows.places(axis, size)
        inside = (places >= 0) & (places < size)
        if not bool(inside.any(dim=1).all()):
            raise Unsupported(f"max pool at {b.where!r}: a window lies outside the input")
        # an entry of the padding gives way to one inside the same window
        first = places.gather(1, inside.int().argmax(dim=1, keepdim=True))
        places = torch.where(inside, places, first)
        parts = [b.move(x, partial(torch.index_select, dim=back, index=place)) for place in places.T]
        while len(parts) > 1:
            pairs = [b.add(Max(), *parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
            parts = pairs + parts[2 * len(pairs) :]
        x = parts[0]
    return x


def avg_pool(b: Builder, x: Value, windows: Windows, count_padding: bool, divisor: int | None = None) -> Value:
    """Means over windows; of the entries inside only unless `count_padding`; sums over `divisor` if given."""
    x = b.batched(x)
    if len(windows.kernel) == 1:
        wide = avg_pool(b, _lift(b, x), windows.lifted(), count_padding, divisor)
        return b.move(wide, lambda t: t.squeeze(-2))
    if len(windows.kernel) != 2 or max(windows.dilation) > 1 or len(b.shape(x)) != 3:
        raise Unsupported(f"average pool at {b.where!r} in {len(windows.kernel)} dimensions or with dilation")
    kernel, stride = _pair(windows.kernel), _pair(windows.stride)
    sizes = b.shape(x)[-2:]
    places = [windows.places(axis, size) for axis, size in enumerate(sizes)]
    counts = []
    for axis, size in enumerate(sizes):
        low, high = (-windows.before[axis], size + windows.after[axis]) if count_padding else (0, size)
        counts.append(((places[axis] >= low) & (places[axis] < high)).sum(dim=1))
    area = math.prod(kernel)
    weights = (
        area / (counts[0][:, None] * counts[1]).double()
        if divisor is None
        else torch.tensor(area / divisor, dtype=torch.float64)
    )
    if windows.before == windows.after and not windows.ceil and _at_most_half(windows.before, kernel):
        found = b.add(AvgPool2d(kernel, stride, _pair(windows.before)), x)
    else:
        after = tuple(int(place[-1, -1]) + 1 - size for place, size in zip(places, sizes, strict=True))
        found = b.add(AvgPool2d(kernel, stride), _padded(b, x, replace(windows, after=after)))
    return found if bool((weights == 1.0).all()) else b.scale(found, weights, roundings=1)


def adaptive_avg_pool(b: Builder, x: Value, counts: Sequence[int]) -> Value:
    """Means over windows of nearly equal size: window i of n of a dimension covers i size / n to (i + 1) size / n."""
    if all(size % count == 0 for size, count in zip(b.shape(x)[-len(counts) :], counts, strict=True)):
        return avg_pool(b, x, adaptive_windows(b, x, counts), count_padding=True)
    for axis, count in enumerate(counts, start=-len(counts)):
        size = b.shape(x)[axis]
        bounds = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        entries = torch.arange(size)
        marks = torch.stack([((entries >= low) & (entries < high)).to(**b.options) for low, high in bounds])
        sums = b.add(Linear(marks), b.move(x, partial(torch.movedim, source=axis, destination=-1)))
        x = b.move(
            b.scale(sums, 1.0 / marks.sum(dim=1).double(), roundings=1),
            partial(torch.movedim, source=-1, destination=axis),
        )
    return x


def adaptive_windows(b: Builder, x: Value, counts: Sequence[int]) -> Windows:
    """As many windows of equal size in each of the last dimensions."""
    sizes = b.shape(x)[-len(counts) :]
    if any(size % count for size, count in zip(sizes, counts, strict=True)):
        raise Unsupported(f"{b.where!r} pools {sizes} into {tuple(counts)} windows of unequal size")
    return windows_of(len(counts), [size // count for size, count in zip(sizes, counts, strict=True)])


def _at_most_half(padding: Sequence[int], kernel: Sequence[int]) -> bool:
    """What torch asks of the padding of a pool."""
    return all(2 * margin <= size for margin, size in zip(padding, kernel, strict=True))


def _lift(b: Builder, x: Value) -> Value:
    return b.move(x, lambda t: t.unsqueeze(-2))


def _padded(b: Builder, x: Value, windows: Windows) -> Value:
    none = [0] * (len(b.sizes(x)) - len(windows.kernel))
    return pad(b, x, [*none, *windows.before], [*none, *windows.after])


def _pair(values: Sequence[int]) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)
