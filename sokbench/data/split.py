"""A data set in memory: two splits, each images with labels and a hash that identifies them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvalidInput
from .catalogue import DatasetInfo

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class Split(ABC):
    """Images (N, C, H, W) in [0, 1] and labels (N,)."""

    labels: Labels
    sha256: str

    @property
    @abstractmethod
    def images(self) -> Images:
        """All images, float32 (N, C, H, W) in [0, 1]."""

    @abstractmethod
    def image(self, index: int) -> Images:
        """One image, float32 (C, H, W) in [0, 1]; cheap, whatever the size of the split."""

    def __len__(self) -> int:
        return len(self.labels)


@final
class ArraySplit(Split):
    """A split held as uint8 pixels (N, C, H, W); `sha256` is of the pixels and the labels (little-endian int64)."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
        self.pixels = np.ascontiguousarray(pixels)
        self.labels = np.ascontiguousarray(labels, dtype=np.int64)

    @cached_property
    def images(self) -> Images:
        return scaled(self.pixels)

    def image(self, index: int) -> Images:
        return scaled(self.pixels[index])

    @cached_property
    def sha256(self) -> str:  # type: ignore[override]  # computed when first asked for
        digest = hashlib.sha256(self.pixels.data)
        digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()


def scaled(pixels: NDArray[np.uint8]) -> Images:
    """Pixels 0..255 as float32 in [0, 1], correctly rounded."""
    return np.divide(pixels, np.float32(255), dtype=np.float32)


@final
class Dataset:
    """A data set whose splits are read, and checked against their known hash, when they are first touched."""

    def __init__(self, info: DatasetInfo, read: Callable[[DatasetInfo, str], Split]) -> None:
        self.info = info
        self._read = read

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def num_classes(self) -> int:
        return self.info.num_classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.info.input_shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label, where the data set has them."""
        return self.info.classes

    @cached_property
    def train(self) -> Split:
        return self._checked("train")

    @cached_property
    def test(self) -> Split:
        return self._checked("test")

    @property
    def sha256(self) -> str:
        """The test split's hash: what rows record as `data_sha256`."""
        return self.test.sha256

    def _checked(self, part: str) -> Split:
        split = self._read(self.info, part)
        known = self.info.sha256.get(part)
        if known is not None and split.sha256 != known:
            raise InvalidInput(
                f"the {part} images of {self.name} are not the known ones (SHA-256 {split.sha256[:16]}…, expected "
                f"{known[:16]}…): a file in the data directory is damaged or changed; replace it"
            )
        return split
