"""CIFAR-10, from the python version's batches or from lossless WebP sheets of 10,000 images with `labels.npz`."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvalidInput
from .batches import read_batch
from .catalogue import DatasetInfo
from .files import Availability, RemoteFile, data_dir, ensure, locate, missing_detail
from .split import ArraySplit

ARCHIVE = RemoteFile(
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    (".", "cifar10"),
)
_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_SHEET = (3200, 3200)  # 100 x 100 images of 32 x 32


def availability(info: DatasetInfo) -> Availability:
    for folder, suffix in (_batch_folder(), ""), (_sheet_folder(), ".webp"):
        if _complete(folder, suffix):
            return Availability(True, str(folder))
    archive = locate(ARCHIVE)
    return Availability(True, str(archive)) if archive else Availability(False, missing_detail([ARCHIVE]))


def read(info: DatasetInfo, part: str) -> ArraySplit:
    if not _complete(_batch_folder(), "") and _complete(_sheet_folder(), ".webp"):
        return _from_sheets(_sheet_folder(), part)
    if not _complete(_batch_folder(), ""):
        _unpack(*ensure(info.title, [ARCHIVE]))
    batches = [read_batch(_batch_folder() / name) for name in _BATCHES[part]]
    return ArraySplit(np.concatenate([p for p, _ in batches]), np.concatenate([y for _, y in batches]))


def _batch_folder() -> Path:
    return data_dir() / "cifar-10-batches-py"


def _sheet_folder() -> Path:
    return data_dir() / "cifar10"


def _complete(folder: Path, suffix: str) -> bool:
    return all((folder / f"{name}{suffix}").is_file() for names in _BATCHES.values() for name in names)


def _unpack(archive: Path) -> None:
    """Write the six batches beside the archive, and nothing else that it may contain."""
    folder = _batch_folder()
    try:
        folder.mkdir(exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in (name for names in _BATCHES.values() for name in names):
                stream = tar.extractfile(f"{folder.name}/{name}")
                if stream is None:
                    raise InvalidInput(f"{archive} has no file {name}")
                part = folder / f"{name}.tmp"
                part.write_bytes(stream.read())
                part.replace(folder / name)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise InvalidInput(f"cannot unpack {archive} into {folder}: {error}") from None


def _from_sheets(folder: Path, part: str) -> ArraySplit:
    path = folder / "labels.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays[f"y_{part}"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} does not hold the labels y_{part} ({error})") from None
    pixels = np.concatenate([_sheet(folder / f"{name}.webp") for name in _BATCHES[part]])
    if labels.shape != pixels.shape[:1]:
        raise InvalidInput(f"{path} has {labels.size} labels for {len(pixels)} images")
    return ArraySplit(pixels, labels)


def _sheet(path: Path) -> NDArray[np.uint8]:
    """The images (10000, 3, 32, 32) of a sheet of 100 rows with 100 images each."""
    from PIL import Image

    try:
        with Image.open(path) as sheet:
            if sheet.size != _SHEET:
                raise InvalidInput(f"{path} is not a sheet of 100 x 100 images of 32 x 32 pixels")
            pixels = np.asarray(sheet.convert("RGB"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as an image ({error})") from None
    return pixels.reshape(100, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)
