"""Windows: an entry of a convolution depends on a patch of the layers below it, and its rows are zero elsewhere.

The rows of the entries at place (i, j) of a feature map are kept, at a node below, on the window of `size` whose first
place is (i, j) * jump + shift (Wang et al., Beta-CROWN, 2021, call this "patches"). Windows that reach over the edge
of the map carry entries there too, which `Patches.at` and `embed` see to it count as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from verifiers.graph.convolution import AvgPool2d, Conv2d
from verifiers.graph.graph import Graph, Node
from verifiers.graph.linear import Scale
from verifiers.graph.ops import LinearOp, Shape

Pair = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """Where the window of a place lies in a map, per axis (height, width), in places of that map."""

    size: Pair = (1, 1)
    jump: Pair = (1, 1)
    shift: Pair = (0, 0)

    def below(self, op: LinearOp) -> Frame:
        """The window of the input of `op`, one of those that `carries` windows."""
        if isinstance(op, Scale):
            return self
        assert isinstance(op, (Conv2d, AvgPool2d))
        kernel = op.kernel if isinstance(op, AvgPool2d) else op.weight.shape[2:]
        dilation = (1, 1) if isinstance(op, AvgPool2d) else op.dilation
        axes = range(2)
        return Frame(
            _pair((self.size[i] - 1) * op.stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in axes),
            _pair(self.jump[i] * op.stride[i] for i in axes),
            _pair(self.shift[i] * op.stride[i] - op.padding[i] for i in axes),
        )

    def union(self, other: Frame) -> Frame | None:
        """The smallest window that has both in it; None where they move apart."""
        if self.jump != other.jump:
            return None
        shift = _pair(map(min, self.shift, other.shift))
        ends = (max(a.shift[i] + a.size[i] for a in (self, other)) for i in range(2))
        return Frame(_pair(end - first for end, first in zip(ends, shift, strict=True)), self.jump, shift)


def _pair(values: Iterable[int]) -> Pair:
    first, second = values
    return first, second


def carries(node: Node) -> bool:
    """Whether rows at `node` can be kept on windows: a map whose operation is the same at every place."""
    op = node.op
    if len(node.shape) != 3 or not isinstance(op, LinearOp):
        return len(node.shape) == 3
    tensors = () if isinstance(op, Conv2d) else op.tensors().values()
    same = all(tensor.numel() == 1 or tensor.shape[-2:] == (1, 1) for tensor in tensors)
    return isinstance(op, (Conv2d, AvgPool2d, Scale)) and same


def local_adjoint(op: LinearOp, rows: Tensor, channels: int, frame: Frame) -> Tensor:
    """W^T r for rows (P, C, h, w) on windows; (P, channels, *frame.size), `frame` that of the operation's input."""
    unpadded = op if isinstance(op, Scale) else replace(op, padding=(0, 0))  # type: ignore[type-var]
    return unpadded.adjoint(rows, (channels, *frame.size))


def frames_below(graph: Graph, index: int, start: Frame, box: bool) -> dict[int, Frame | None]:
    """The windows at every node that rows of node `index` come to; None where they are kept in full, because the
    window covers the map or the operation is not the same everywhere. box: whether the input set takes windows."""
    found: dict[int, Frame | None] = {index: start}
    for i in range(index, -1, -1):
        if i not in found:
            continue
        node, frame = graph.nodes[i], found[i]
        fits = frame is not None and carries(node) and (i > 0 or box)
        if not fits or frame is None or frame.size[0] * frame.size[1] >= node.shape[1] * node.shape[2]:
            found[i] = frame = None
        for source in node.inputs:
            passed = frame if frame is None or not isinstance(node.op, LinearOp) else frame.below(node.op)
            before = found.get(source, passed)
            found[source] = None if before is None or passed is None else before.union(passed)
    return found


def largest(graph: Graph, frames: dict[int, Frame | None]) -> int:
    """The most entries that a row has at any node."""
    return max(torch.Size(_local(graph.nodes[i].shape, frame)).numel() for i, frame in frames.items())


def _local(shape: Shape, frame: Frame | None) -> Shape:
    return shape if frame is None else (shape[0], *frame.size)


@dataclass(frozen=True, eq=False)
class Patches:
    """The windows of one target's rows. extent: height and width of the target's map."""

    graph: Graph
    frames: dict[int, Frame | None]
    extent: Pair
    _views: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def at(self, key: tuple[int, str], values: Tensor, places: Places) -> Tensor:
        """The windows (G, N, C, h, w) of values (B, N, C, H, W) at node key[0]; zero beyond the edge. key: what
        `values` are, which are prepared once."""
        frame = self.frames[key[0]]
        assert frame is not None
        if key not in self._views:
            self._views[key] = self._windows(values, key[0], frame)
        return self._pick(self._views[key], places.samples, key[0], frame, places)

    def inside(self, index: int, frame: Frame, like: Tensor, places: Places) -> Tensor | None:
        """1 within the map and 0 beyond its edge, on the windows `frame` of node `index`, (G, 1, 1, h, w); None for
        all 1."""
        if not any(map(any, self._overhang(index, frame))):
            return None
        windows = self._windows(like.new_ones(1, 1, 1, *self.graph.nodes[index].shape[1:]), index, frame)
        return self._pick(windows, torch.zeros_like(places.samples), index, frame, places)

    def _windows(self, values: Tensor, index: int, frame: Frame) -> Tensor:
        before, after = self._overhang(index, frame)
        padded = F.pad(values, (before[1], after[1], before[0], after[0]))
        return padded.unfold(-2, frame.size[0], 1).unfold(-2, frame.size[1], 1)

    def _pick(self, windows: Tensor, samples: Tensor, index: int, frame: Frame, places: Places) -> Tensor:
        before, _ = self._overhang(index, frame)
        top, left = (places.at[i] * frame.jump[i] + (frame.shift[i] + before[i]) for i in range(2))
        return windows[samples, :, :, top, left]

    def _overhang(self, index: int, frame: Frame) -> tuple[Pair, Pair]:
        """How far windows reach over the edge before and after the map."""
        height_width = self.graph.nodes[index].shape[1:]
        last = [(self.extent[i] - 1) * frame.jump[i] + frame.shift[i] + frame.size[i] for i in range(2)]
        after = _pair(max(0, last[i] - height_width[i]) for i in range(2))
        return _pair(max(0, -first) for first in frame.shift), after

    def embed(self, rows: Tensor, index: int, frame: Frame, places: Places) -> Tensor:
        """Rows (S, G, K, C, h, w) on the windows `frame` of node `index`, on those that they are kept on there."""
        wanted = self.frames[index]
        if wanted == frame:
            return rows
        if wanted is not None:
            first = [frame.shift[i] - wanted.shift[i] for i in range(2)]
            last = [wanted.size[i] - frame.size[i] - first[i] for i in range(2)]
            return F.pad(rows, (first[1], last[1], first[0], last[0]))
        shape = self.graph.nodes[index].shape
        before, after = self._overhang(index, frame)
        tall, wide = (shape[i + 1] + before[i] + after[i] for i in range(2))
        axes = (torch.arange(size, device=rows.device) for size in (shape[0], *frame.size))
        channel, down, right = torch.meshgrid(*axes, indexing="ij")
        pattern = ((channel * tall + down) * wide + right).flatten()
        top, left = (places.at[i] * frame.jump[i] + (frame.shift[i] + before[i]) for i in range(2))
        targets = (top * wide + left)[:, None, None] + pattern
        flat = rows.flatten(3)
        canvas = rows.new_zeros(*rows.shape[:3], shape[0] * tall * wide)
        canvas = canvas.scatter(3, targets.expand(flat.shape), flat).reshape(*rows.shape[:3], shape[0], tall, wide)
        return canvas[..., before[0] : before[0] + shape[1], before[1] : before[1] + shape[2]]


@dataclass(frozen=True, eq=False)
class Places:
    """Which input, and which place (row, column) of the target's map, each group of rows belongs to; each (G,)."""

    samples: Tensor
    at: tuple[Tensor, Tensor]
