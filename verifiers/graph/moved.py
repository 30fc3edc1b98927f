"""Operations of torch that move numbers around, and tensors whose batch is not their first dimension for a while, as
inside multi-head attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from sokbench.core.errors import Unsupported, first_line

from .build import Builder, MixesBatch, Value

ARRANGEMENTS = {
    "broadcast_to", "channel_shuffle", "chunk", "diagonal", "expand", "expand_as", "flatten", "flip",
    "gather", "hsplit", "index", "index_select", "mT", "moveaxis", "movedim", "narrow", "numpy_T", "permute",
    "pixel_shuffle", "pixel_unshuffle", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll",
    "rot90", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t",
    "take_along_dim", "tensor_split", "tile", "transpose", "unbind", "unflatten", "unfold", "unsqueeze",
    "upsample_nearest1d", "upsample_nearest2d", "view", "view_as", "vsplit", "_unsafe_view", "_reshape_alias",
}  # fmt: skip
"""Operations that only move numbers around: what they do is found by running them."""


@dataclass(frozen=True, eq=False)
class Moved:
    """The numbers of `value`, all members of the batch, at the places `index` (its `Builder.indices` moved)."""

    value: Value
    index: Tensor


def arranged(b: Builder, value: Value, index: Tensor) -> Value | Moved:
    """A `Value` where the batch is the first dimension."""
    try:
        return b.arrange(value, index)
    except MixesBatch:
        return Moved(value, index)


def rearranged(b: Builder, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `run(*args, **kwargs)`, which moves the numbers of its first argument around, is.

    It is run on the places of the numbers, in all members of the batch.
    """

    def places(leaf: Any) -> Any:
        return (
            leaf.index.contiguous() if isinstance(leaf, Moved) else b.indices(leaf) if isinstance(leaf, Value) else leaf
        )

    source = args[0].value if isinstance(args[0], Moved) else args[0]
    try:
        index = run(*tree_map(places, args), **tree_map(places, kwargs))
    except (RuntimeError, IndexError, TypeError) as error:
        raise Unsupported(f"{run} at {b.where!r}: {first_line(error)}") from None
    return tree_map(lambda part: arranged(b, source, part), index)


def row_wise(b: Builder, x: Moved, change: Callable[[Value], Value]) -> Value | Moved:
    """`change` of the last dimension of `x`. Raises `Unsupported` where it mixes members of the batch."""
    rows = x.index.reshape(-1, x.index.shape[-1])
    member = rows[:, 0] // (b.indices(x.value).numel() // b.batch)
    order = member.argsort(stable=True)
    changed = change(b.arrange(x.value, rows[order].reshape(b.batch, -1, rows.shape[1])))
    places = b.indices(changed).reshape(len(rows), -1)[order.argsort()]
    return arranged(b, changed, places.reshape(*x.index.shape[:-1], -1))
