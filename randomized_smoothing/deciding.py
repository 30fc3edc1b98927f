"""Which radii are certified, for many inputs at once, with no more samples than the answers take.

Certified accuracy at given radii needs no estimate of p, only the side of a few thresholds it lies on. Inputs whose
answers are in drop out of the batches, which stay full with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sokbench.core.certifier import ABSTAIN
from sokbench.core.errors import InvalidInput, Unsupported

from .confidence import bisect_floats

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sokbench.core.certifier import Certifier
    from sokbench.core.network import Network

    from .noise import Noise
    from .sequential import Booleans, Floats, Integers, SequentialTest


@dataclass(frozen=True)
class Decision:
    """prediction: the class selected, or `ABSTAIN` if not even the least of the radii is certified; certified: one
    answer per radius; samples: how many were drawn for the estimation."""

    prediction: int
    certified: tuple[bool, ...]
    samples: int


def thresholds_of(certifier: Certifier, noise: Any, radii: Sequence[float]) -> Floats:
    """The least p > 1/2 from which on each radius is certified, rounded up; 1 where none is.

    For radius 0 it is 1/2: from there on the certifier predicts. Raises `InvalidInput` unless the radii rise.
    """
    wanted = np.asarray(radii, dtype=np.float64)
    if wanted.ndim != 1 or not len(wanted) or wanted[0] < 0 or not bool((np.diff(wanted) > 0).all()):
        raise InvalidInput(f"radii are a list of numbers >= 0 that rise, not {list(radii)}")
    found = bisect_floats(
        lambda p: certifier.radius(p, None, noise) >= wanted, good=np.ones(len(wanted)), bad=np.full(len(wanted), 0.5)
    )
    # rounding lets a radius wobble in its last bits as p grows; monotone thresholds keep the order of the claims
    return np.where(wanted == 0.0, 0.5, np.maximum.accumulate(found))


@final
class Ledger:
    """What is known about p of several inputs while stages go by.

    certified, excluded: (inputs, radii) answers so far; stage: (inputs,) the last stage that was looked at.
    """

    def __init__(self, test: SequentialTest, inputs: int, thresholds: Floats) -> None:
        self.test, self.thresholds = test, thresholds
        self.certified: Booleans = np.zeros((inputs, len(thresholds)), dtype=bool)
        self.excluded: Booleans = np.tile(thresholds >= 1.0, (inputs, 1))
        self.stage = np.full(inputs, -1)

    def open(self) -> NDArray[np.intp]:
        """The inputs that still want samples."""
        undecided = ~(self.certified | self.excluded).all(axis=1)
        return np.flatnonzero(undecided & (self.stage < len(self.test.stages) - 1))

    def look(self, inputs: NDArray[np.intp], stage: int, successes: Integers) -> None:
        """Take in the successes (len(inputs),) of the first `test.stages[stage]` samples of each of the inputs."""
        counts = successes[:, None]
        self.certified[inputs] |= self.test.above(counts, stage, self.thresholds) & ~self.excluded[inputs]
        self.excluded[inputs] |= self.test.below(counts, stage, self.thresholds) & ~self.certified[inputs]
        self.stage[inputs] = stage

    def samples(self) -> Integers:
        """Samples drawn per input."""
        drawn: Integers = np.array([0, *self.test.stages])[self.stage + 1]
        return drawn


def decide_radii(
    network: Network,
    images: Sequence[Tensor],
    indices: Sequence[int],
    noise: Noise,
    certifier: Certifier,
    radii: Sequence[float],
    test: SequentialTest,
    n0: int = 100,
    seed: int = 0,
) -> list[Decision]:
    """Decide for each image which of the rising `radii` are certified, with confidence 1 - test.alpha per image.

    images: inputs of shape `network.input_shape`; indices: their numbers in the data set, which pick their noise.
    Samples are those of the streams (seed, index): with fixed n the first n of them would be drawn. Raises
    `Unsupported` for a deterministic certifier, whose counts are no samples.
    """
    from .sampling import Request, Stream, count_classes

    if certifier.info.deterministic:
        raise Unsupported(f"{certifier.info.slug} evaluates every form of its noise, so there is nothing to stop early")
    ledger = Ledger(test, len(images), thresholds_of(certifier, noise, radii))
    selection = [Request(x, Stream(seed, i, "selection"), 0, n0) for x, i in zip(images, indices, strict=True)]
    chosen = count_classes(network, noise, selection).argmax(axis=1)
    successes = np.zeros(len(images), dtype=np.int64)
    drawn = 0
    for stage, n in enumerate(test.stages):
        going = ledger.open()
        requests = [Request(images[i], Stream(seed, indices[i], "estimation"), drawn, n) for i in going]
        counts = count_classes(network, noise, requests)
        successes[going] += counts[np.arange(len(going)), chosen[going]]
        ledger.look(going, stage, successes[going])
        drawn = n
    return [
        Decision(int(c) if certified.any() else ABSTAIN, tuple(certified.tolist()), int(samples))
        for c, certified, samples in zip(chosen, ledger.certified, ledger.samples(), strict=True)
    ]
