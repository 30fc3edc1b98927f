"""Pictures of inputs and witnesses, as data that fits into pages.

An input becomes a PNG. Of a witness only the difference from its input is kept, in 127 steps of its largest entry:
that is a tenth of the float32 witness and shows both pictures to within 1/254 of the largest change. Distances are
computed here from the exact numbers.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .. import data
from ..core.errors import InvalidInput
from ..rows import Row, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ImageSource(Protocol):
    """The test split of a data set, as far as pages need it."""

    @property
    def sha256(self) -> str: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.float32]:
        """One image, float32 (C, H, W) in [0, 1]."""


def open_sources(datasets: Sequence[str]) -> dict[str, ImageSource]:
    """Test splits of the data sets that are on this machine; nothing is downloaded for the pages' sake."""
    found: dict[str, ImageSource] = {}
    for name in datasets:
        if name in data.names() and data.availability(name).ready:
            try:
                found[name] = data.load(name).test
            except InvalidInput:
                # a damaged file: the pages say "no picture", and `sokbench doctor` says what is wrong
                continue
    return found


def class_names(dataset: str) -> list[str]:
    return list(data.info(dataset).classes) if dataset in data.names() else []


def png(image: NDArray[np.float32]) -> str:
    """A (C, H, W) image in [0, 1], of one or three channels, as a PNG data address."""
    import numpy as np
    from PIL import Image

    pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


class Pictures:
    """Looks up inputs by row, refusing splits whose pixels are not the ones the row was made from."""

    def __init__(self, sources: Mapping[str, ImageSource]) -> None:
        self._sources = sources

    def image(self, dataset: str, sha256: str, index: int) -> NDArray[np.float32] | None:
        """float32 (C, H, W), or None where the input is not on this machine or not the same."""
        source = self._sources.get(dataset)
        if source is None or source.sha256 != sha256 or not 0 <= index < len(source):
            return None
        image = source.image(index)
        return image if image.ndim == 3 and image.shape[0] in (1, 3) else None

    def witness(self, row: Row) -> dict[str, Any] | None:
        """The difference of the row's witness from its input, and their distances; None without either.

        delta: base64 of zlib of int8 (C*H*W): difference / scale * 127; scale: largest absolute difference;
        moved: number of changed pixels values; l2, linf: distances.
        """
        import numpy as np

        image = None if row.witness is None else self.image(row.dataset, row.data_sha256, row.index)
        if row.witness is None or image is None:
            return None
        try:
            witness = unpack(row.witness).reshape(image.shape).astype(np.float64)
        except (ValueError, TypeError, zlib.error) as error:
            return {"broken": str(error)}
        delta = witness - image
        if not np.isfinite(delta).all():
            return {"broken": "the witness is not finite"}
        scale = float(np.abs(delta).max())
        steps = np.rint(delta / scale * 127).astype(np.int8) if scale > 0 else np.zeros(delta.shape, np.int8)
        return {
            "delta": base64.b64encode(zlib.compress(steps.tobytes(), 6)).decode(),
            "shape": list(image.shape),
            "scale": scale,
            "linf": scale,
            "l2": float(np.linalg.norm(delta)),
            "moved": int(np.count_nonzero(delta)),
        }
