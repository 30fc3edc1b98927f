"""Noisy copies of several inputs, packed into full batches and drawn ahead of the network.

The noise of a stream is a sequence of blocks of fixed size, each from a generator of its own, and a block is always
drawn whole. So what a sample is depends on its stream and position alone, not on the batch it came in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import torch

from sokbench.core.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

    from .noise import Noise

Stage = Literal["selection", "estimation"]

BLOCK_VALUES: Final = 2**16
"""Values drawn from one generator. Part of what a stream is: changing it changes every sample."""


@dataclass(frozen=True)
class Stream:
    """Which noise: that of image `index` of a data set in the stage `selection` or `estimation`, under `seed`.

    The two stages never share a sample: a class selected by the samples that then bound its probability would make the
    bound wrong more often than alpha.
    """

    seed: int
    index: int
    stage: Stage

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise InvalidInput(f"the stage of a noise stream is selection or estimation, not {self.stage!r}")

    def generator(self, block: int) -> torch.Generator:
        """The generator of one block of samples, on the CPU, so that every device sees the same noise."""
        name = f"{self.seed}/{self.index}/{self.stage}/{block}".encode()
        digest = hashlib.blake2b(name, digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


@dataclass(frozen=True, eq=False)
class Request:
    """Samples `start` to `stop` (exclusive) of a stream, around the input x (shape `network.input_shape`)."""

    x: Tensor
    stream: Stream
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise InvalidInput(
                f"a request is for at least 1 sample from a start >= 0, not for {self.start} to {self.stop}"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """rows: (k, *shape) noisy inputs, valid until the next but one batch; owners: (k,) number of the request."""

    rows: Tensor
    owners: Tensor


def block_rows(x: Tensor) -> int:
    """Samples per block."""
    return max(1, BLOCK_VALUES // x.numel())


def drawn_ahead(requests: Sequence[Request], noise: Noise, rows: int) -> Iterator[Batch]:
    """All samples of the requests, in order, in batches of `rows` (the last one may be smaller).

    One thread draws the next batch while the caller evaluates this one; two buffers take turns. Neither changes a
    sample.
    """
    if not requests:
        return
    batches = _packed(requests, noise, rows)
    with ThreadPoolExecutor(1, thread_name_prefix="noise") as drawing:
        coming = drawing.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = drawing.submit(next, batches, None)
            yield batch


def _packed(requests: Sequence[Request], noise: Noise, rows: int) -> Iterator[Batch]:
    shape, size = requests[0].x.shape, block_rows(requests[0].x)
    # a buffer holds a batch and the rest of the block that filled it
    buffer, other = (_Buffer(torch.empty(rows + size - 1, *shape)) for _ in range(2))
    filled = 0
    for piece in _pieces(requests, size):
        filled = piece.draw(noise, buffer, filled)
        done = 0
        while filled - done >= rows:
            yield buffer.batch(done, done + rows)
            done += rows
        if done:
            # asked for the next batch, the caller still evaluates the last one from this buffer and no other
            rest = filled - done
            other.rows[:rest], other.owners[:rest] = buffer.rows[done:filled], buffer.owners[done:filled]
            buffer, other, filled = other, buffer, rest
    if filled:
        yield buffer.batch(0, filled)


class _Buffer:
    """Space for noisy inputs and for the numbers of the requests they belong to."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.owners = torch.empty(len(rows), dtype=torch.int64)

    def batch(self, low: int, high: int) -> Batch:
        return Batch(self.rows[low:high], self.owners[low:high])


@dataclass(frozen=True, eq=False)
class _Piece:
    """Samples `low` to `high` of one block of one request."""

    request: Request
    centre: Tensor
    owner: int
    block: int
    low: int
    high: int
    size: int

    def draw(self, noise: Noise, buffer: _Buffer, at: int) -> int:
        """Write the samples into the buffer from row `at` on; return the row after them."""
        block = buffer.rows[at : at + self.size]
        noise.draw_(block, self.centre, self.request.stream.generator(self.block), self.block * self.size)
        if self.low:
            block[: self.high - self.low] = block[self.low : self.high].clone()
        end = at + self.high - self.low
        buffer.owners[at:end] = self.owner
        return end


def _pieces(requests: Sequence[Request], size: int) -> Iterator[_Piece]:
    for owner, request in enumerate(requests):
        centre = request.x.detach().float().cpu()
        for block in range(request.start // size, -(-request.stop // size)):
            low, high = max(request.start - block * size, 0), min(request.stop - block * size, size)
            yield _Piece(request, centre, owner, block, low, high, size)
