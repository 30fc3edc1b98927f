"""What a rearrangement of numbers is made of.

Readers run slices, transposes, gathers and their like on a tensor of indices; where each number went tells which
operations do the same, whatever the operator was called.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..arrangement import Expand, Permute, Rearrangement, Reshape, Select
from ..ops import Shape


def operations(index: Tensor, shape: Shape) -> list[Rearrangement]:
    """Operations that take x (B, *shape) to x.flatten(1)[:, index]: views where there are some, else selections."""
    counts = [1] * index.dim()
    once = index
    for axis, size in enumerate(index.shape):
        first = once.narrow(axis, 0, 1)
        if size > 1 and bool((once == first).all()):
            once, counts[axis] = first, size
    places = torch.arange(math.prod(shape)).reshape(shape)
    found = _permuted(once, places)
    if found is None:
        found = _selected(once, places)
    if found is None:
        found = [Reshape((places.numel(),)), Select(0, tuple(once.flatten().tolist()))]
    return _without_idle([*found, Reshape(tuple(once.shape)), Expand(tuple(counts))], shape)


def _permuted(index: Tensor, places: Tensor) -> list[Rearrangement] | None:
    """All numbers in their order, or with dimensions exchanged."""
    if torch.equal(index.flatten(), places.flatten()):
        return []
    before, after = places.squeeze(), index.squeeze()
    steps = [int(after.select(axis, 1).flatten()[0] - after.flatten()[0]) for axis in range(after.dim())]
    if sorted(steps) != sorted(before.stride()):
        return None
    order = tuple(before.stride().index(step) for step in steps)
    return [Reshape(tuple(before.shape)), Permute(order)] if torch.equal(before.permute(order), after) else None


def _selected(index: Tensor, places: Tensor) -> list[Rearrangement] | None:
    """Entries of each dimension by themselves, one dimension of which may have been dropped."""
    if index.dim() == places.dim() - 1:
        unsqueezed = (_selected(index.unsqueeze(axis), places) for axis in range(places.dim()))
        return next((found for found in unsqueezed if found is not None), None)
    if index.dim() != places.dim():
        return None
    found: list[Rearrangement] = []
    rebuilt = places
    for axis, (step, size) in enumerate(zip(places.stride(), places.shape, strict=True)):
        line = index[tuple(slice(None) if other == axis else 0 for other in range(index.dim()))]
        chosen = line // step % size
        rebuilt = rebuilt.index_select(axis, chosen)
        if chosen.tolist() != list(range(size)):
            found.append(Select(axis, tuple(chosen.tolist())))
    return found if torch.equal(rebuilt, index) else None


def _without_idle(ops: list[Rearrangement], shape: Shape) -> list[Rearrangement]:
    """Without reshapes to the shape that is there already and repetitions by one."""
    kept: list[Rearrangement] = []
    for op in ops:
        before, shape = shape, tuple(op.linear(torch.empty(1, *shape, device="meta")).shape[1:])
        if before != shape or not isinstance(op, (Reshape, Expand)):
            kept.append(op)
    return kept
