"""Data files for drill-down: `sok.load(name, value)` in .js files, because pages opened from file:// cannot fetch.

data/<suite>/<dataset>.<model>.js       one status character, seconds and margin per input of every cell
data/<suite>/<dataset>.<model>.<n>.js   logs, witnesses and the rest, for BUCKET inputs
data/images/<dataset>.<n>.js            pictures of BUCKET inputs, by index
data/index.js                           what cells there are; data/runs.js what is true of whole runs
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..measured.cells import Cell
from ..measured.names import rounded_down, slug
from ..measured.status import CODES
from ..rows import Row
from .images import Pictures, png

BUCKET = 25


def write_shard(out: Path, name: str, value: Any) -> None:
    """Write `value` where `sok.shard(name)` in the pages finds it."""
    path = out / "data" / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sok.load(" + msgspec.json.encode(name) + b"," + msgspec.json.encode(value) + b");\n")


def shard_name(cell: Cell) -> str:
    """The shard with a cell's rows: one per suite, data set and model."""
    return f"{slug(cell.suite)}/{slug(cell.setting.dataset)}.{slug(cell.model)}"


def write_model(out: Path, cells: Sequence[Cell], stale: Mapping[str, str], pictures: Pictures) -> None:
    """All shards of one (suite, model, data set).

    stale: today's version of each method's code, by slug.
    """
    name = shard_name(cells[0])
    labels = {row.index: row.label for cell in cells for row in cell.rows}
    inputs = sorted(labels)
    position = {index: place for place, index in enumerate(inputs)}
    columns = {cell.id: _columns(cell, position) for cell in cells}
    shard = {"inputs": inputs, "labels": [labels[index] for index in inputs], "bucket": BUCKET, "cells": columns}
    write_shard(out, name, shard)
    buckets: dict[int, dict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        for row in cell.rows:
            buckets[position[row.index] // BUCKET][row.index][cell.id] = _details(row, stale, pictures)
    for number, content in buckets.items():
        write_shard(out, f"{name}.{number}", content)


def write_images(out: Path, rows: Iterable[Row], pictures: Pictures) -> None:
    """Pictures of all inputs of `rows`, each once."""
    wanted = sorted({(row.dataset, row.data_sha256, row.index) for row in rows})
    buckets: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for dataset, sha256, index in wanted:
        bucket = buckets[dataset, index // BUCKET]
        image = pictures.image(dataset, sha256, index)
        if image is not None:
            bucket[index] = png(image)
    for (dataset, number), content in buckets.items():
        write_shard(out, f"images/{slug(dataset)}.{number}", content)


def _columns(cell: Cell, position: Mapping[int, int]) -> dict[str, Any]:
    """A cell as columns over all inputs of its model; an input without a row has the status '-'."""
    codes = [CODES["missing"]] * len(position)
    seconds: list[float | None] = [None] * len(position)
    margins: list[float | None] = [None] * len(position)
    radii: list[float | None] = [None] * len(position)
    for row, status in zip(cell.rows, cell.statuses, strict=True):
        place = position[row.index]
        codes[place] = CODES[status]
        seconds[place] = _short(row.seconds)
        margins[place] = _below(row.margin)
        radii[place] = _below(row.certified_radius)
    columns = {"status": "".join(codes), "seconds": seconds}
    if any(margin is not None for margin in margins):
        columns["margin"] = margins
    if any(radius is not None for radius in radii):
        columns["radius"] = radii
    return columns


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _below(bound: float | None) -> float | None:
    """A proved bound with as many digits as the pages show, never above itself."""
    return None if bound is None else float(rounded_down(bound, 4))


def _details(row: Row, today: Mapping[str, str], pictures: Pictures) -> dict[str, Any]:
    """What only the page of one input shows; fields that say nothing are left out."""
    details = {
        "run": row.run,
        "at": row.finished,
        "limit": row.limit,
        "memory": row.memory,
        "prepare": _short(row.prepare_seconds),
        "seed": row.seed,
        "version": row.method_version,
        "stale": today.get(row.method, row.method_version) != row.method_version,
        "shared": row.shared,
        "device": "" if row.device == "cpu" else row.device,
        "log": row.log,
        "stats": row.stats,
        "noise": row.noise,
        "alpha": row.alpha,
        "prediction": row.prediction,
        "p": row.p,
        "q": row.q,
        "low": row.low,
        "high": row.high,
        "witness": pictures.witness(row),
    }
    return {
        key: value
        for key, value in details.items()
        if value is not None and value is not False and value not in ("", {})
    }
