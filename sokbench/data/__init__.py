"""Data sets: what they are, whether they are here, and their images as numpy arrays.

`names()`, `info(name)` and `availability(name)` read no data; `load(name)` gives a `Dataset` whose splits are read
when they are first touched. Nothing here needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from ..core.errors import UnknownName
from .catalogue import DATASETS, DatasetInfo
from .files import Availability

if TYPE_CHECKING:
    from .split import Dataset, Split

__all__ = ["Availability", "DatasetInfo", "availability", "info", "load", "names"]


def names() -> list[str]:
    """The data sets that can be loaded by name."""
    return list(DATASETS)


def info(name: str) -> DatasetInfo:
    """What is known of a data set without reading it. Raises `UnknownName`."""
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    return DATASETS[name]


def availability(name: str) -> Availability:
    """Whether the files of a data set are here, and otherwise how to get them; reads and downloads nothing."""
    return _reader(name).availability(info(name))


def load(name: str) -> Dataset:
    """The data set, from the directory in `SOKBENCH_DATA`, downloaded first where files are missing.

    Raises `UnknownName`, and `InvalidInput` for files that are missing and cannot be downloaded, are broken, or do
    not have the known hash (some of these only when a split is first touched).
    """
    from .split import Dataset

    described = info(name)
    return Dataset(described, _reader(name).read)


class _Reader(Protocol):
    """What a module that reads a data set has."""

    def availability(self, info: DatasetInfo) -> Availability: ...

    def read(self, info: DatasetInfo, part: str) -> Split: ...


def _reader(name: str) -> _Reader:
    return cast(_Reader, importlib.import_module(f".{info(name).reader}", __name__))
