"""ImageNet from a folder: `imagenet/val/<class>/<image>` (and `imagenet/train/...`), classes in alphabetical order.

The alphabetical order of the WordNet ids is the usual numbering of the 1,000 classes. Images are prepared as in the
usual evaluation: shorter side to 256 by bilinear interpolation with antialiasing, then the central 224 x 224. They
stay on disk and are decoded one at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from ..core.errors import InvalidInput
from .catalogue import DatasetInfo
from .files import Availability, data_dir
from .split import Images, Split, scaled

_RESIZED, _CROPPED = 256, 224
_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}
_AT_ONCE = 2000  # images of 0.6 MB each in float32


def availability(info: DatasetInfo) -> Availability:
    folder = _folder("test")
    if folder.is_dir():
        return Availability(True, str(folder))
    return Availability(False, _advice(info))


def read(info: DatasetInfo, part: str) -> FolderSplit:
    folder = _folder(part)
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if not classes:
        raise InvalidInput(f"{folder} has no class folders; {_advice(info)}")
    if len(classes) != info.num_classes:
        raise InvalidInput(f"{folder} has {len(classes)} class folders, expected {info.num_classes}")
    paths, labels = [], []
    for label, entry in enumerate(classes):
        images = sorted(path for path in entry.iterdir() if path.suffix.lower() in _SUFFIXES)
        paths += images
        labels += [label] * len(images)
    return FolderSplit(paths, labels)


@final
class FolderSplit(Split):
    """Images that stay on disk. `sha256` is of the listing: class, file name and size of every image, in order (to
    hash 6 GB of pixels before every run would cost minutes)."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self.paths = list(paths)
        self.labels = np.array(labels, dtype=np.int64)
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        self.sha256 = digest.hexdigest()

    @property
    def images(self) -> Images:
        if len(self) > _AT_ONCE:
            raise InvalidInput(f"{len(self)} images do not fit into memory at once; take them one by one: .image(i)")
        return np.stack([self.image(index) for index in range(len(self))])

    def image(self, index: int) -> Images:
        from PIL import Image

        path = self.paths[index]
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read as an image ({error})") from None
        width, height = picture.size
        scale = _RESIZED / min(width, height)
        size = (max(_RESIZED, int(width * scale)), max(_RESIZED, int(height * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        left, top = round((size[0] - _CROPPED) / 2), round((size[1] - _CROPPED) / 2)
        picture = picture.crop((left, top, left + _CROPPED, top + _CROPPED))
        return scaled(np.asarray(picture).transpose(2, 0, 1))


def _folder(part: str) -> Path:
    return data_dir() / "imagenet" / {"train": "train", "test": "val"}[part]


def _advice(info: DatasetInfo) -> str:
    return (
        f"ImageNet may not be downloaded without an account: get the validation images from {info.url} and put them "
        f"at {_folder('test')}, one folder per class (n01440764, ...)"
    )
