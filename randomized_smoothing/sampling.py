"""The one sampling pass: class counts of the base classifier under noise, from which all certifiers work.

What a count is must not depend on how it was computed. Two decisions make it so:

- The noise of (seed, image, stage) is a sequence of blocks of fixed size, each from a generator of its own. Batch
  size, order, resumption and the number of samples asked for never change a sample: the first n samples of a longer
  run are the samples of the run with n.
- The class of a noisy input is the top class in float64. Float32 logits decide it alone only where the gap between
  the two largest is far above float32 rounding; the few others are evaluated again, one by one, in float64. So neither
  the shape of a batch nor the number of threads can flip a near tie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sokbench.core.errors import InvalidInput
from sokbench.core.evaluation import logits64

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sokbench.core.network import Network

    from .noise import Noise

Stage = Literal["selection", "estimation"]

BLOCK_VALUES: Final = 2**16
"""Values drawn from one generator. Part of what a stream is: changing it changes every sample."""

NEAR_TIE: Final = 1e-4
"""Gap of the top two logits, relative to the largest logit of the batch, up to which float64 decides. The logits of
float32 networks differ from float64 ones by 1e-7 to 1e-5 of that size."""

BYTES: Final = 2**24
"""Memory that a batch with its activations may take. Larger batches fall out of the caches and are slower on a CPU."""


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


def class_counts(network: Network, x: Tensor, noise: Noise, n: int, stream: Stream) -> NDArray[np.int64]:
    """How often the base classifier says each class on `n` noisy copies of `x`: int64 (num_classes,), sum n.

    x: one input, shape `network.input_shape`, on the device of the network. Noise is added in the units of `x` and
    nothing is clipped. Raises `InvalidInput` for a wrong shape, no samples, or logits that are not numbers.
    """
    if tuple(x.shape) != tuple(network.input_shape):
        raise InvalidInput(f"the input has shape {tuple(x.shape)}, but {network.name} expects {network.input_shape}")
    if n < 1:
        raise InvalidInput(f"the number of samples must be at least 1, not {n}")
    counts = torch.zeros(network.num_classes, dtype=torch.int64)
    with torch.no_grad():
        for batch in _batches(x.detach().float(), noise, n, stream, _batch_rows(network, x)):
            counts += torch.bincount(_classes(network, batch), minlength=network.num_classes)
    return counts.numpy()


def _batches(x: Tensor, noise: Noise, n: int, stream: Stream, rows: int) -> Iterator[Tensor]:
    """The first `n` noisy copies of `x` in batches of `rows`, a multiple of the block size or less than a block.

    A batch lives in a buffer that the next one overwrites.
    """
    per_block = _block_rows(x)
    buffer = torch.empty(max(rows, per_block), *x.shape)
    centre = x.cpu()
    for first in range(0, n, len(buffer)):
        count = min(len(buffer), n - first)
        for start in range(0, count, per_block):
            generator = stream.generator((first + start) // per_block)
            noise.sample_(buffer[start : start + per_block], centre, generator)
        for start in range(0, count, rows):
            yield buffer[start : min(start + rows, count)].to(x.device)


def _classes(network: Network, batch: Tensor) -> Tensor:
    """The top class of each input of the batch, as float64 evaluation gives it (see the module's docstring)."""
    logits = network(batch)
    best, classes = logits.topk(2, dim=1)
    decided = best[:, 0] - best[:, 1] > NEAR_TIE * logits.abs().max()  # False where a logit is NaN
    classes = classes[:, 0].cpu()
    for row in (~decided).nonzero().flatten().tolist():
        exact = logits64(network, batch[row : row + 1])
        if bool(exact.isnan().any()):
            raise InvalidInput(f"{network.name} gives NaN for a noisy input; its class is undefined")
        classes[row] = exact.argmax()
    return classes


def _block_rows(x: Tensor) -> int:
    return max(1, BLOCK_VALUES // x.numel())


def _batch_rows(network: Network, x: Tensor) -> int:
    """How many samples fit into `BYTES`: whole blocks, or fewer samples than a block where a block does not fit."""
    rows = max(1, BYTES // _bytes_per_sample(network, x))
    per_block = _block_rows(x)
    return rows if rows < per_block else rows - rows % per_block


def _bytes_per_sample(network: Network, x: Tensor) -> int:
    """Memory that a forward pass takes per sample: input and output of the widest operation, and as much work space."""
    tensors = (*network.module.parameters(), *network.module.buffers())
    with _LargestActivation({tensor.untyped_storage().data_ptr() for tensor in tensors}) as largest:
        network(x.detach().float()[None])
    widest: int = largest.bytes
    return 4 * max(widest, 4 * x.numel())


class _LargestActivation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size in bytes of the largest tensor that any operation puts out; views of weights do not count."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights = weights
        self.bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in self.weights:
            self.bytes = max(self.bytes, out.numel() * out.element_size())
        return out
