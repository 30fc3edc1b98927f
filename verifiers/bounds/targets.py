"""The rows that back-substitution starts from: which entries of a node, in which groups, on which windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from verifiers.graph.convolution import Conv2d
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp, one_hot

from .backward import Rows
from .frames import Frame, Patches, Places, frames_below, largest
from .sets.inputs import Owner
from .state import Bounds

_ALONE = 16  # an input with at least this many rows gets chunks of its own: only its unstable neurons cost anything
_TOGETHER = (64, 16, 4, 1)  # so many rows of one input (and place) form a group, whose lines are gathered once
_COPIES = 8  # two sides, each with the rows, their magnitudes and what becomes of them


@dataclass(frozen=True)
class Chunk:
    """Entries (G, K) of a node, of inputs (G, K) that are the same along K; owner: the inputs (G,)."""

    owner: Owner
    samples: Tensor
    entries: Tensor

    def halves(self) -> tuple[Chunk, Chunk] | None:
        """Two chunks with half the rows each; None for a single row."""
        groups, count = self.entries.shape
        if count > 1:
            parts = (slice(0, count // 2), slice(count // 2, None))
            first, second = (Chunk(self.owner, self.samples[:, part], self.entries[:, part]) for part in parts)
        elif groups > 1 and not isinstance(self.owner, slice):
            parts = (slice(0, groups // 2), slice(groups // 2, None))
            first, second = (Chunk(self.owner[part], self.samples[part], self.entries[part]) for part in parts)
        else:
            return None
        return first, second


@dataclass(frozen=True)
class Target:
    """Node `index` of a graph, whose entries are bounded. patches: where its rows are kept on windows; widest: the
    most entries that a row has on its way."""

    index: int
    patches: Patches | None
    widest: int

    @classmethod
    def of(cls, graph: Graph, index: int, box: bool) -> Target:
        """box: whether the input set is one, so that rows can stay on windows down to the input."""
        node = graph.nodes[index]
        if len(node.shape) == 3:
            start = _start(graph, index)
            frame = Frame().below(node.op) if start != index and isinstance(node.op, Conv2d) else Frame()
            frames = frames_below(graph, start, frame, box)
            if frames[start] is not None:
                return cls(index, Patches(graph, frames, (node.shape[1], node.shape[2])), largest(graph, frames))
        return cls(index, None, max(math.prod(node.shape) for node in graph.nodes[: index + 1]))

    def chunks(self, wanted: Tensor, at_once: int) -> Iterator[Chunk]:
        """The marked entries of (B, n), at most `at_once` rows at a time."""
        samples, entries = wanted.nonzero(as_tuple=True)
        if self.patches is not None:
            places = math.prod(self.patches.extent)
            keys, order = (samples * places + entries % places).sort(stable=True)
            few = len(order) <= _TOGETHER[0]  # then one chunk is better than one for each size of group
            yield from _grouped(samples[order], entries[order], keys, at_once, (1,) if few else _TOGETHER)
            return
        counts = wanted.sum(dim=1).tolist()
        first = 0
        for sample, count in enumerate(counts):
            if count >= _ALONE or (count and len(counts) == 1):
                for start in range(first, first + count, at_once):
                    part = slice(start, min(start + at_once, first + count))
                    yield Chunk(slice(sample, sample + 1), samples[None, part], entries[None, part])
            first += count
        if len(counts) > 1:
            rest = wanted.new_tensor([count < _ALONE for count in counts])[samples]
            yield from _grouped(samples[rest], entries[rest], samples[rest], at_once, _TOGETHER[2:])

    def rows(self, bounds: Bounds, chunk: Chunk) -> Rows:
        """Rows for a chunk of entries, already taken through the node where it is affine."""
        graph, entries = bounds.graph, chunk.entries
        node, flat, dtype = graph.nodes[self.index], chunk.entries.flatten(), bounds.intervals[0].lower.dtype
        if self.patches is None:
            start, places = _source(graph, self.index), None
            if start == self.index:
                values = one_hot(flat, node.shape, dtype)
            else:
                assert isinstance(node.op, LinearOp)
                values = node.op.unit_rows(flat, graph.nodes[start].shape, node.shape)
            values = values.reshape(1, *entries.shape, *graph.nodes[start].shape)
        else:
            start, columns = _start(graph, self.index), self.patches.extent[1]
            channels, place = entries // math.prod(self.patches.extent), entries[:, 0] % math.prod(self.patches.extent)
            assert isinstance(chunk.owner, Tensor)
            places = Places(chunk.owner, (place // columns, place % columns))
            if start == self.index:
                values = torch.eye(node.shape[0], dtype=dtype, device=entries.device)[channels][None, ..., None, None]
            else:
                assert isinstance(node.op, Conv2d)
                values = node.op.weight[channels][None]
        constants = values.new_zeros(1, *entries.shape)
        if start == self.index:
            return Rows(start, values, constants, 0.0, self.patches, places)
        if isinstance(node.op, LinearOp) and node.op.offset is not None:
            constants = node.op.offset.expand(node.shape).flatten()[flat].reshape(constants.shape)
        affine = partial(bounds.rounding.affine, graph, self.index, 1.0, bounds.size(start))
        slack = bounds.price(self.index, "affine", 0, affine)
        slack = slack if isinstance(slack, float) else slack[chunk.owner].unsqueeze(1)
        return Rows(start, values, constants, slack, self.patches, places)


def _source(graph: Graph, index: int) -> int:
    """The node that rows of node `index` start at: its input where it is affine."""
    node = graph.nodes[index]
    return node.inputs[0] if isinstance(node.op, LinearOp) else index


def _start(graph: Graph, index: int) -> int:
    """As `_source`, for rows on windows: those of a plain convolution are its kernels."""
    node = graph.nodes[index]
    plain = isinstance(node.op, Conv2d) and node.op.groups == 1 and node.op.dilation == (1, 1)
    return node.inputs[0] if plain else index


def _grouped(samples: Tensor, entries: Tensor, keys: Tensor, at_once: int, sizes: tuple[int, ...]) -> Iterator[Chunk]:
    """Chunks of groups whose rows have the same key, of the sorted keys; groups of the first size as far as they go,
    then of the next: no row is there twice."""
    counts = torch.unique_consecutive(keys, return_counts=True)[1]
    total = counts.repeat_interleave(counts)
    rank = torch.arange(len(keys), device=keys.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    done = torch.zeros_like(total)
    for size in sizes:
        until = total - total % size
        chosen = (rank >= done) & (rank < until)
        grouped = samples[chosen].reshape(-1, size), entries[chosen].reshape(-1, size)
        done = until
        for some, part in zip(*(torch.split(each, max(1, at_once // size)) for each in grouped), strict=True):
            if len(some):
                yield Chunk(some[:, 0], some, part)


def rows_at_once(widest: int, like: Tensor, chunk_bytes: int) -> int:
    """How many rows, both sides, may be on their way to the input at the same time."""
    return max(1, chunk_bytes // (_COPIES * like.element_size() * widest))


def out_of_memory(error: Exception) -> bool:
    """Whether this is how torch says so: on the CPU a RuntimeError with that text, on CUDA a class of its own."""
    texts = ("not enough memory", "can't allocate memory", "out of memory", "could not create a primitive")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)
