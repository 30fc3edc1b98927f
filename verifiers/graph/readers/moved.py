"""Operations of torch that move numbers around, and tensors whose batch is not their first dimension for a while, as
inside multi-head attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
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

ROW_WISE = {"abs", "elu", "gelu", "leaky_relu", "linear", "relu", "sigmoid", "silu", "softplus", "tanh"}
"""Operations on each vector along the last dimension, or on each number."""


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


def apply(b: Builder, name: str, change: Callable[..., Value], args: Sequence[Any]) -> Value | Moved:
    """`change(b, *args)`, the operation `name`, where some of `args` are moved.

    Raises `MixesBatch` unless it treats all rows (vectors along the last dimension) alike, or is a product of matrices
    one by one along the first dimension.
    """
    moved = [arg for arg in args if isinstance(arg, Moved)]
    parts = [m.index for m in moved if m.index.dim() > 1]
    mixed = MixesBatch(f"the operation {name!r} at {b.where!r} mixes the batch dimension with others")
    if not parts or len(parts) < len(moved):
        raise mixed
    shape = parts[0].shape[:-1]
    if _is_row_wise(name, args) and len({part.shape for part in parts}) == 1:
        parts = [part.flatten(0, -2) for part in parts]
        member = parts[0][:, 0] // (b.indices(moved[0].value).numel() // b.batch)
        order = member.argsort(stable=True)
    elif name == "bmm" and len(moved) == 2:
        order = torch.arange(len(parts[0]))
    else:
        raise mixed
    if len(order) % b.batch:
        raise mixed
    sorted_by_member = [part[order].reshape(b.batch, -1, *part.shape[1:]) for part in parts]
    values = (b.arrange(m.value, index) for m, index in zip(moved, sorted_by_member, strict=True))
    changed = change(b, *(next(values) if isinstance(arg, Moved) else arg for arg in args))
    places = b.indices(changed).flatten(0, 1)[order.argsort()]
    return arranged(b, changed, places.reshape(*shape, -1))


def _is_row_wise(name: str, args: Sequence[Any]) -> bool:
    if not isinstance(args[0], Moved):
        return False
    if name == "softmax":
        return args[1] in (-1, args[0].index.dim() - 1)
    if name in ("add", "sub", "mul", "div"):
        return all(isinstance(arg, (Moved, int, float)) for arg in args[:2])
    return name in ROW_WISE and not any(isinstance(arg, Moved) for arg in args[1:])
