"""Subdomains of branch and bound on ReLU phases, as one struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from verifiers.bounds.optimized import Relus, Triangles


@dataclass(frozen=True, eq=False)
class Columns:
    """The neurons that can be split, side by side: those unstable at the root. Column k of a domain's vectors belongs
    to entry `entries[k - first]` of its ReLU node; `shapes` are those of the nodes' values."""

    entries: dict[int, Tensor]
    first: dict[int, int]
    shapes: dict[int, tuple[int, ...]]
    width: int

    @staticmethod
    def of(free: Relus) -> Columns:
        """free: (1, *shape), 1 at unstable neurons."""
        entries = {index: mask.flatten().nonzero().squeeze(1) for index, mask in free.items()}
        first, width = {}, 0
        for index, chosen in entries.items():
            first[index] = width
            width += len(chosen)
        return Columns(entries, first, {index: tuple(mask.shape[1:]) for index, mask in free.items()}, width)

    def gather(self, dense: Relus, count: int) -> Tensor:
        """(count, width) from (count, *shape) per ReLU node; 0 for nodes that are not there."""
        dtype = next((values.dtype for values in dense.values()), torch.float32)
        found = torch.zeros(count, self.width, dtype=dtype)
        for index, values in dense.items():
            chosen, start = self.entries[index], self.first[index]
            found[:, start : start + len(chosen)] = values.flatten(1)[:, chosen]
        return found

    def part(self, index: int, vectors: Tensor) -> Tensor:
        """The columns (R, n) of one ReLU node."""
        return vectors[:, self.first[index] : self.first[index] + len(self.entries[index])]

    def scatter(self, index: int, vectors: Tensor, base: Tensor) -> Tensor:
        """(R, *shape) at ReLU node `index`: `vectors` (R, width) where it has a column, else `base` (1, *shape)."""
        dense = base.flatten(1).repeat(len(vectors), 1)
        dense[:, self.entries[index]] = self.part(index, vectors).to(base.dtype)
        return dense.reshape(len(vectors), *self.shapes[index])

    def neuron(self, column: int) -> tuple[int, int]:
        """(ReLU node, entry) of a column."""
        for index, start in self.first.items():
            if start <= column < start + len(self.entries[index]):
                return index, int(self.entries[index][column - start])
        raise IndexError(column)


@dataclass(frozen=True, eq=False)
class Domains:
    """D domains. bound: (D,) of the search, in its precision; target: (D,) which row; node: (D,) place in the tree;
    phase: (D, width) int8, +1 where z <= 0 is fixed, -1 for z >= 0; slopes, gammas: (D, width), best found."""

    bound: Tensor
    target: Tensor
    node: Tensor
    phase: Tensor
    slopes: Tensor
    gammas: Tensor

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, rows: Tensor) -> Domains:
        return Domains(*(getattr(self, field.name)[rows] for field in fields(self)))


class Pool:
    """Open domains, the highest bounds first: those are next to being closed, so that few are open at a time."""

    def __init__(self, start: Domains) -> None:
        self._count = len(start)
        self._held = start

    def __len__(self) -> int:
        return self._count

    def targets(self) -> Tensor:
        """The rows that have open domains."""
        return torch.tensor(sorted(set(self._held.target[: self._count].tolist())), dtype=torch.long)

    def push(self, new: Domains) -> None:
        total = self._count + len(new)
        if total > len(self._held):
            room = max(total, 2 * len(self._held))
            self._held = Domains(*(_grown(getattr(self._held, field.name), room) for field in fields(Domains)))
        for field in fields(Domains):
            getattr(self._held, field.name)[self._count : total] = getattr(new, field.name)
        self._count = total

    def pop(self, most: int) -> Domains:
        """Take out the `most` domains of the highest bounds."""
        number = min(most, self._count)
        chosen = self._held.bound[: self._count].topk(number).indices
        taken = self._held.take(chosen)
        left = self._count - number
        last = torch.ones(number, dtype=torch.bool)
        last[chosen[chosen >= left] - left] = False
        holes, movers = chosen[chosen < left], left + last.nonzero().squeeze(1)
        for field in fields(Domains):
            values = getattr(self._held, field.name)
            values[holes] = values[movers]
        self._count = left
        return taken


def _grown(values: Tensor, room: int) -> Tensor:
    bigger = values.new_empty((room, *values.shape[1:]))
    bigger[: len(values)] = values
    return bigger


def split_triangles(root: Triangles, columns: Columns, phase: Tensor) -> Triangles:
    """The root's triangles with the fixed phases (R, width) as lines: 0 for z <= 0, z for z >= 0."""
    chord, offset, free = dict(root.chord), dict(root.offset), dict(root.free)
    for index in root.chord:
        part = columns.part(index, phase)
        if not bool(part.any()):
            continue
        open_ = (part == 0).to(root.chord[index].dtype)
        entries, count = columns.entries[index], len(phase)
        for values, fixed in ((chord, (part < 0).to(open_.dtype)), (offset, 0.0), (free, 0.0)):
            dense = values[index].flatten(1).repeat(count, 1)
            dense[:, entries] = dense[:, entries] * open_ + fixed
            values[index] = dense.reshape(count, *columns.shapes[index])
    return Triangles(chord, offset, free, root.adaptive)
