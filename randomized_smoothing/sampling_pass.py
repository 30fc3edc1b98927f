"""The sampling pass of one image, in pieces: cut off after any of them, it goes on later to the same counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from .sampling import Request, Stream, count_classes
from .statistics import Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sokbench.core.network import Network

    from .base_classifier import Precision
    from .batches import Stage
    from .noise import Noise
    from .stopping import Stopping

FIRST_PIECE: Final = 1024
SECONDS: Final = 1.0
"""What a piece should take: no more than this is lost when a pass is cut off."""


@dataclass(frozen=True)
class Image:
    """What is smoothed: the input x (shape `network.input_shape`), number `index` of its data set; precision: see
    `BaseClassifier`."""

    network: Network
    x: Tensor
    noise: Noise
    seed: int
    index: int
    precision: Precision = "float32"


@final
class SamplingPass:
    """Counts n0 samples to select a class, and up to n others to estimate its probability.

    counts: int64 (2, classes), what an earlier sitting counted, or none; moments: what it summed up. With `statistics`
    the second stage also sums up `Moments`; with `stopping` it ends early. `run` does the rest of the work.
    """

    def __init__(
        self,
        image: Image,
        n0: int,
        n: int,
        stopping: Stopping | None = None,
        statistics: bool = False,
        counts: NDArray[np.int64] | None = None,
        moments: tuple[float, ...] = (),
    ) -> None:
        self.image, self.n0, self.n, self.stopping = image, n0, n, stopping
        self.counts = np.zeros((2, image.network.num_classes), dtype=np.int64) if counts is None else counts.copy()
        self._earlier, self._statistics = moments, statistics
        self.moments: Moments | None = None
        self._piece, self._reported = FIRST_PIECE, time.monotonic()

    def run(self, report: Callable[[SamplingPass], None] = lambda done: None) -> None:
        """Sample to the end. report: called every few seconds, between pieces, when the state may be noted down."""
        self._sample(0, "selection", self.n0, report)
        top = self.top
        if self._statistics:
            self.moments = Moments(self.image.x, top, self.drawn, self._earlier)
        stages = (self.n,) if self.stopping is None else self.stopping.test.stages
        for number, size in enumerate(stages):
            if size < self.drawn:
                continue
            self._sample(1, "estimation", size, report)
            if self.stopping is not None and self.stopping.decided(int(self.counts[1, top]), number):
                return

    @property
    def top(self) -> int:
        return int(self.counts[0].argmax())

    @property
    def drawn(self) -> int:
        """Samples of the estimation so far."""
        return int(self.counts[1].sum())

    def _sample(self, row: int, stage: Stage, stop: int, report: Callable[[SamplingPass], None]) -> None:
        """Count samples of a stage up to number `stop`, piece by piece."""
        image = self.image
        stream = Stream(image.seed, image.index, stage)
        while (start := int(self.counts[row].sum())) < stop:
            started = time.monotonic()
            request = Request(image.x, stream, start, min(start + self._piece, stop))
            observer = self.moments.add if row == 1 and self.moments is not None else None
            self.counts[row] += count_classes(image.network, image.noise, [request], observer, image.precision)[0]
            seconds = max(time.monotonic() - started, 1e-6)
            rate = (request.stop - start) / seconds
            self._piece = max(FIRST_PIECE, min(int(SECONDS * rate), 4 * self._piece))
            if time.monotonic() - self._reported >= SECONDS and request.stop < self.n:
                report(self)
                self._reported = time.monotonic()
