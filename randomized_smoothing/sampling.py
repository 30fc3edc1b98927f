"""The one sampling pass: class counts of the base classifier under noise, from which all certifiers work.

What a count is must not depend on how it was computed. Two decisions make it so:

- The noise of (seed, image, stage) is a sequence of blocks of fixed size, each from a generator of its own. Batch
  size, order, resumption and the number of samples asked for never change a sample: the first n samples of a longer
  run are the samples of the run with n, and a run that was cut off goes on where it stopped.
- The class of a noisy input is what `BaseClassifier` says it is, in whatever batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.memory import keep_freed_memory

from .base_classifier import BaseClassifier, Precision
from .batches import Request, Stream, block_rows, drawn_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from sokbench.core.network import Network

    from .noise import Noise

    Observer = Callable[[Tensor, Tensor, Tensor], None]

__all__ = ["Request", "Stream", "class_counts", "count_classes"]

CLOSE_CALLS: Final = 64
"""Inputs put aside for more digits before they are evaluated together."""

TOGETHER: Final = 16
"""Batches whose classes are added up together."""

BYTES: Final = 2**24
"""Memory that a batch with its activations may take. Larger batches fall out of the caches and are slower on a CPU."""

# bytes that a sample takes in a forward pass, by network, found by a pass that takes as long as several samples
_SAMPLE_BYTES: WeakKeyDictionary[Network, int] = WeakKeyDictionary()


def class_counts(
    network: Network, x: Tensor, noise: Noise, n: int, stream: Stream, precision: Precision = "float32"
) -> NDArray[np.int64]:
    """How often the base classifier says each class on the first `n` noisy copies of `x`: int64 (num_classes,).

    As `count_classes` with a single request.
    """
    counts: NDArray[np.int64] = count_classes(network, noise, [Request(x, stream, 0, n)], precision=precision)[0]
    return counts


def count_classes(
    network: Network,
    noise: Noise,
    requests: Sequence[Request],
    observer: Observer | None = None,
    precision: Precision = "float32",
) -> NDArray[np.int64]:
    """Class counts (len(requests), num_classes), int64, of each request's samples.

    Requests of several images and stages share full batches, and give what each would give alone; counts of samples
    0 to m and m to n add up to those of 0 to n. Inputs have shape `network.input_shape`, on the device of the network.
    Noise is added in the units of x and nothing is clipped. observer: sees every batch, in the order of the samples:
    noisy inputs, logits and classes. precision: see `BaseClassifier`. Raises `InvalidInput` for a wrong shape, or
    logits that are not numbers; `Unsupported` for an observer of bfloat16, whose logits depend on the batch.
    """
    if observer is not None and precision != "float32":
        raise Unsupported(f"statistics are of float32 outputs; they are not taken in {precision}")
    for request in requests:
        if tuple(request.x.shape) != tuple(network.input_shape):
            raise InvalidInput(
                f"the input has shape {tuple(request.x.shape)}, but {network.name} expects {network.input_shape}"
            )
    if not requests:
        return np.zeros((0, network.num_classes), dtype=np.int64)
    keep_freed_memory()
    tally = _Tally(BaseClassifier(network, precision), len(requests), observer)
    with torch.no_grad():
        for batch in drawn_ahead(requests, noise, rows_per_batch(network, requests[0].x)):
            tally.add(batch.rows.to(requests[0].x.device), batch.owners)
        tally.finish()
    return tally.counts.view(len(requests), network.num_classes).numpy()


class _Tally:
    """Counts the classes that the base classifier says.

    Inputs that it leaves open at first are put aside and evaluated together: each would cost a pass of its own.
    """

    def __init__(self, base: BaseClassifier, requests: int, observer: Observer | None) -> None:
        self.base, self.observer, self.classes = base, observer, base.network.num_classes
        self.counts = torch.zeros(requests * self.classes, dtype=torch.int64)
        self.close: list[tuple[Tensor, Tensor]] = []
        self.found: list[tuple[Tensor, Tensor]] = []

    def add(self, rows: Tensor, owners: Tensor) -> None:
        """Count the classes of `rows` (k, *shape) for the requests `owners` (k,)."""
        logits, classes, decided = self.base.glance(rows)
        if self.observer is not None:
            self._observe(rows, logits, classes, decided, owners)
            return
        here = decided.cpu()
        if bool(here.all()):
            self._count(owners.clone(), classes.cpu())
            return
        self._count(owners[here], classes.cpu()[here])
        self.close.append((rows[~decided], owners[~here]))
        if sum(len(left) for _, left in self.close) >= CLOSE_CALLS:
            self._decide_close_calls()

    def _observe(self, rows: Tensor, logits: Tensor, classes: Tensor, decided: Tensor, owners: Tensor) -> None:
        """Count and show a batch whole: its close calls are decided at once, so that samples stay in order."""
        if not bool(decided.all()):
            classes[~decided] = self.base.settle(rows[~decided]).to(classes.device)
        self._count(owners.clone(), classes.cpu())
        if self.observer is not None:
            self.observer(rows, logits, classes)

    def finish(self) -> None:
        """Count what `add` put aside. Raises `InvalidInput` where a logit is NaN."""
        self._decide_close_calls()
        self._add_up()

    def _decide_close_calls(self) -> None:
        if self.close:
            rows, owners = (torch.cat(parts) for parts in zip(*self.close, strict=True))
            self._count(owners, self.base.settle(rows))
            self.close.clear()

    def _count(self, owners: Tensor, classes: Tensor) -> None:
        """Note them down; adding up waits for several batches, as it costs as much for one as for many."""
        self.found.append((owners, classes))
        if len(self.found) >= TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        if self.found:
            owners, classes = (torch.cat(parts) for parts in zip(*self.found, strict=True))
            self.counts += torch.bincount(owners * self.classes + classes, minlength=len(self.counts))
            self.found.clear()


def rows_per_batch(network: Network, x: Tensor) -> int:
    """How many samples fit into `BYTES`: whole blocks, or fewer samples than a block where a block does not fit."""
    if network not in _SAMPLE_BYTES:
        _SAMPLE_BYTES[network] = _bytes_per_sample(network, x)
    rows = max(1, BYTES // _SAMPLE_BYTES[network])
    per_block = block_rows(x)
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
