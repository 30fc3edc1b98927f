"""A series: jobs that differ only in the input, such as CROWN on one network at one radius."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ..rows import Task

SAMPLING = "sampling"
"""What stands in the `method` field of a sample row: class counts come from no certifier."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a job but its input. Field names as in `sokbench.rows.Row`, and

    input_shape:   of one image of the data set, for networks that do not know theirs
    model_source:  where to load the network from (`model` with its path resolved)
    method_source: the Python file of a method from outside the project, or ""
    prepare_limit: seconds for loading the network and preparing the method
    skip_after:    timeouts in a row after which the rest is skipped, or None
    spec, spec_source, expected: of a property series, see `Row`; spec_source: `spec` with its path resolved
    counts:        of a certify series: the sample series its class counts come from
    """

    task: Task
    dataset: str
    data_sha256: str
    input_shape: tuple[int, ...]
    model: str
    model_source: str
    model_sha256: str
    method: str
    method_source: str
    method_version: str
    parameters: dict[str, Any]
    norm: str
    radius: float | None = None
    low: float | None = None
    high: float | None = None
    noise: dict[str, Any] | None = None
    alpha: float | None = None
    limit: float
    prepare_limit: float
    memory: int
    seed: int
    skip_after: int | None = None
    counts: Series | None = None
    spec: str = ""
    spec_source: str = ""
    expected: str = ""


class Batch(msgspec.Struct, frozen=True):
    """Inputs of a series, by index in the test split, with their labels."""

    series: Series
    indices: tuple[int, ...]
    labels: tuple[int, ...]

    def restricted(self, indices: Collection[int]) -> Batch:
        """The part of the batch with these inputs, perhaps empty."""
        pairs = [pair for pair in zip(self.indices, self.labels, strict=True) if pair[0] in indices]
        return Batch(self.series, tuple(index for index, _ in pairs), tuple(label for _, label in pairs))
