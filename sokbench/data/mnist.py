"""MNIST, from its four IDX files or from `mnist.npz` (arrays x_train, y_train, x_test, y_test)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..core.errors import InvalidInput
from .catalogue import DatasetInfo
from .files import Availability, data_dir, locate, missing_detail
from .idx import idx_files, read_split
from .split import ArraySplit

FILES = idx_files(
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ("mnist", "MNIST/raw"),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)


def availability(info: DatasetInfo) -> Availability:
    missing = [file for file in FILES.values() if locate(file) is None]
    if not missing:
        return Availability(True, str(locate(FILES["t10k-images-idx3-ubyte.gz"])))
    if _npz().is_file():
        return Availability(True, str(_npz()))
    return Availability(False, missing_detail(missing))


def read(info: DatasetInfo, part: str) -> ArraySplit:
    complete = all(locate(file) is not None for file in FILES.values())
    if _npz().is_file() and not complete:
        return _from_npz(_npz(), part)
    return read_split(info.title, FILES, part)


def _npz() -> Path:
    return data_dir() / "mnist.npz"


def _from_npz(path: Path, part: str) -> ArraySplit:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} is not the MNIST archive with x_{part} and y_{part} ({error})") from None
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise InvalidInput(f"{path} does not hold unsigned bytes of shape (N, 28, 28) with N labels")
    return ArraySplit(images[:, None], labels)
