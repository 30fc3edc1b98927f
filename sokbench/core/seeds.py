"""Seeds that belong to an input, so that batch size, order and resume never change a random choice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def input_seed(seed: int, x: Tensor, *parts: int | str) -> int:
    """A 63-bit seed derived from `seed`, the values of one input and anything else that tells streams apart."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((seed, *parts)).encode())
    digest.update(x.detach().cpu().float().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest(), "big") >> 1
