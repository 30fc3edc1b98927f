"""Parts of sampling passes: results/<suite>/<run>/parts.jsonl, so that a killed run goes on inside an image.

A part is what a pass had counted when it last said so. It is no answer and no row: the newest part of a key is where
the next run begins, and once the row of the key is recorded nobody reads it again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from . import journal
from .rows import SCHEMA, Array

PARTS: Final = "parts.jsonl"


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """key, method_version: of the sample row it belongs to; counts: int64 (2, classes) of selection and estimation so
    far; moments: float64, sums of the statistics so far, where any are taken; seconds: spent on it so far."""

    schema: int = 1
    key: str
    method_version: str
    counts: Array
    moments: Array | None = None
    seconds: float


def read_parts(results: Path, suite: str, wanted: Collection[str]) -> dict[str, Part]:
    """The newest part of each of the wanted keys. A damaged line costs what was counted since the line before."""
    found: dict[str, Part] = {}
    if wanted:
        for part in journal.scan(results, suite, Part, lambda message: None, PARTS):
            if part.key in wanted and part.schema <= SCHEMA:
                found[part.key] = part
    return found
