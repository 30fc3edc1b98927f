"""Rearrangements are found again from where the numbers went, as views where there are some."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from verifiers.graph.arrangement import Rearrangement
from verifiers.graph.readers.recognize import operations

Change = Callable[[Tensor], Tensor]

CASES: dict[str, tuple[Change, list[str]]] = {
    "nothing": (lambda t: t, []),
    "reshape": (lambda t: t.reshape(6, 10), ["reshape"]),
    "transpose": (lambda t: t.transpose(0, 2), ["permute"]),
    "transpose and unsqueeze": (lambda t: t.transpose(0, 2).unsqueeze(1), ["permute", "reshape"]),
    "slices": (lambda t: t[1:, :, ::2], ["select", "select"]),
    "one": (lambda t: t[:, 1], ["select", "reshape"]),
    "flip": (lambda t: t.flip(1), ["select"]),
    "expand": (lambda t: t.unsqueeze(1).expand(3, 7, 4, 5), ["reshape", "expand"]),
    "expand a slice": (lambda t: t[:, :1].expand(3, 4, 5), ["select", "expand"]),
    "turned and expanded": (lambda t: t.mT.unsqueeze(0).expand(2, 3, 5, 4), ["permute", "reshape", "expand"]),
    "pairs": (lambda t: t[[0, 1], [2, 0]], ["reshape", "select", "reshape"]),
    "scalar": (lambda t: t[1, 2, 3], ["reshape", "select", "reshape"]),
}


def applied(ops: list[Rearrangement], x: Tensor) -> Tensor:
    for op in ops:
        x = op.linear(x)
    return x


@pytest.mark.parametrize("name", CASES)
def test_what_a_rearrangement_is_made_of(name: str) -> None:
    change, expected = CASES[name]
    found = operations(change(torch.arange(60).reshape(3, 4, 5)), (3, 4, 5))
    assert [op.name for op in found] == expected
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(applied(found, x), torch.stack([change(member) for member in x]))


@st.composite
def changes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Change]]:
    """Some shape and a chain of changes of it."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    steps: list[Change] = []
    t = torch.zeros(shape)
    for _ in range(draw(st.integers(1, 4))):
        axis = draw(st.integers(0, max(0, t.dim() - 1)))
        size = t.shape[axis] if t.dim() else 1
        order = draw(st.permutations(range(t.dim())))
        picked = torch.tensor(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4)))
        options: list[Change] = [
            lambda t, order=order: t.permute(order),
            lambda t, axis=axis: t.unsqueeze(axis),
            lambda t: t.flatten(),
            lambda t, axis=axis, picked=picked: t.index_select(axis, picked) if t.dim() else t,
            lambda t, axis=axis: t.select(axis, 0) if t.dim() else t,
            lambda t, axis=axis: t.unsqueeze(axis).repeat_interleave(3, axis),
        ]
        steps.append(draw(st.sampled_from(options)))
        t = steps[-1](t)
    return shape, steps


@given(changes())
def test_any_rearrangement_is_found_again(case: tuple[tuple[int, ...], list[Change]]) -> None:
    shape, steps = case
    index = torch.arange(math.prod(shape)).reshape(shape)
    for step in steps:
        index = step(index)
    x = torch.randn(2, *shape)
    assert torch.equal(applied(operations(index, shape), x), x.flatten(1)[:, index])
