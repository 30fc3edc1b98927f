"""Subdomains of branch and bound on ReLU phases and halves of smooth activations, as one struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from verifiers.bounds.optimized.sweep import Relus, Triangles


@dataclass(frozen=True, eq=False)
class Columns:
    """The neurons that can be split, side by side: those unstable at the root. Column k of a domain's vectors belongs
    to entry `entries[k - first]` of its node; `shapes` are those of the nodes' values.

    curves: the nodes that are smooth activations. They have two places where ReLUs have one slope, so vectors of slopes
    are longer: their places above come last, from `above` on."""

    entries: dict[int, Tensor]
    first: dict[int, int]
    shapes: dict[int, tuple[int, ...]]
    width: int
    above: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def of(root: Triangles) -> Columns:
        """root: of one input, with its masks `free` (1, *shape)."""
        entries = {index: mask.flatten().nonzero().squeeze(1) for index, mask in root.free.items()}
        first, width = {}, 0
        for index, chosen in entries.items():
            first[index] = width
            width += len(chosen)
        above, end = {}, width
        for index in root.curves:
            above[index] = end
            end += len(entries[index])
        return Columns(
            entries, first, {index: tuple(mask.shape[1:]) for index, mask in root.free.items()}, width, above
        )

    def gather(self, dense: Relus, count: int) -> Tensor:
        """(count, width) from (count, *shape) per node; 0 for nodes that are not there."""
        dtype = next((values.dtype for values in dense.values()), torch.float32)
        found = torch.zeros(count, self.width, dtype=dtype)
        for index, values in dense.items():
            chosen, start = self.entries[index], self.first[index]
            found[:, start : start + len(chosen)] = values.flatten(1)[:, chosen]
        return found

    def gather_slopes(self, dense: Relus, count: int) -> Tensor:
        """As `gather`, of slopes and places (count, 2, *shape)."""
        sides = [{i: v[:, side] if i in self.above else v for i, v in dense.items()} for side in (0, 1)]
        below, above = (self.gather(side, count) for side in sides)
        return torch.cat([below, *(self.part(index, above) for index in self.above)], dim=1)

    def gather_lines(self, slopes: Tensor, curves: Relus) -> Tensor:
        """(R, width): the slopes of ReLUs from vectors, those of smooth activations from lines (R, *shape)."""
        if not self.above:
            return slopes
        lines = self.gather(curves, len(slopes))
        for index in self.first.keys() - self.above.keys():
            self.part(index, lines)[:] = self.part(index, slopes)
        return lines

    def part(self, index: int, vectors: Tensor) -> Tensor:
        """The columns (R, n) of one node."""
        return vectors[:, self.first[index] : self.first[index] + len(self.entries[index])]

    def places(self, index: int, slopes: Tensor, base: Tensor) -> Tensor:
        """(R, 2, *shape) of a smooth activation from vectors of slopes; `base` (1, 2, *shape) elsewhere."""
        start = self.above[index]
        shifted = slopes.roll(self.first[index] - start, dims=1)
        return torch.stack([self.scatter(index, slopes, base[:, 0]), self.scatter(index, shifted, base[:, 1])], dim=1)

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
    phase: (D, width) int8, +1 where z <= 0 (or the cut) is fixed, -1 for z >= 0; slopes (D, width and places above),
    gammas (D, width): best found."""

    bound: Tensor
    target: Tensor
    node: Tensor
    phase: Tensor
    slopes: Tensor
    gammas: Tensor

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, rows: Tensor) -> Domains:
        return Domains(*(getattr(self, one.name)[rows] for one in fields(self)))


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
            self._held = Domains(*(_grown(getattr(self._held, one.name), room) for one in fields(Domains)))
        for one in fields(Domains):
            getattr(self._held, one.name)[self._count : total] = getattr(new, one.name)
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
        for one in fields(Domains):
            values = getattr(self._held, one.name)
            values[holes] = values[movers]
        self._count = left
        return taken


def _grown(values: Tensor, room: int) -> Tensor:
    bigger = values.new_empty((room, *values.shape[1:]))
    bigger[: len(values)] = values
    return bigger


def split_triangles(root: Triangles, columns: Columns, phase: Tensor) -> Triangles:
    """The root's triangles with the fixed phases (R, width) as lines: 0 for z <= 0, z for z >= 0; smooth activations
    with the lines of the half that is left."""
    chord, offset, free, curves = dict(root.chord), dict(root.offset), dict(root.free), dict(root.curves)
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
    for index, whole in root.curves.items():
        if bool(columns.part(index, phase).any()):
            split, (below, beyond) = columns.scatter(index, phase, torch.zeros_like(whole.lower)), root.halves[index]
            free[index] = root.free[index] * (split == 0)
            curves[index] = below.where(split > 0, beyond.where(split < 0, whole))
    return Triangles(chord, offset, free, root.adaptive, curves, root.halves)
