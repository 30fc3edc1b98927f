"""The IDX format of MNIST and its relatives: a big-endian header, then unsigned bytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InvalidInput
from .files import RemoteFile, ensure
from .split import ArraySplit

_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in a gzip-compressed IDX file. Raises `InvalidInput` if it is none."""
    try:
        content = gzip.decompress(path.read_bytes())
        zero, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InvalidInput(f"{path} is not a gzip-compressed IDX file ({error})") from None
    body = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if zero != 0 or kind != _UNSIGNED_BYTE or body.size != int(np.prod(shape)):
        raise InvalidInput(f"{path} is not an IDX file of unsigned bytes")
    return body.reshape(shape)


def idx_files(base_url: str, folders: tuple[str, ...], sha256: dict[str, str]) -> dict[str, RemoteFile]:
    """The files of a data set in IDX form, by name."""
    return {name: RemoteFile(name, base_url + name, digest, folders) for name, digest in sha256.items()}


def part_files(files: dict[str, RemoteFile], part: str) -> list[RemoteFile]:
    """Images and labels of one split."""
    prefix = {"train": "train", "test": "t10k"}[part]
    return [files[f"{prefix}-images-idx3-ubyte.gz"], files[f"{prefix}-labels-idx1-ubyte.gz"]]


def read_split(title: str, files: dict[str, RemoteFile], part: str) -> ArraySplit:
    """One split of an IDX data set, downloaded if need be. Raises `InvalidInput` as `ensure` and `read_idx` do."""
    images, labels = (read_idx(path) for path in ensure(title, part_files(files, part)))
    return ArraySplit(images[:, None], labels)
