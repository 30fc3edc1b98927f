"""The row: what is recorded about one job. The journal appends rows; audit, tables and pages read them.

A row says what was asked (the problem and the limits), what was answered (the outcome), and what made the answer
(the versions). Published numbers are another type on purpose: see `sokbench.published`.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1
"""Raised when a field changes its meaning; rows of a newer schema are refused with a message, never misread.
Written by `sokbench.journal` on every row; the default of `Row.schema` stays 1, because defaults are not written."""

Task = Literal["verify", "radius", "sample", "certify", "property"]


class Array(msgspec.Struct, frozen=True):
    """A small float32 or int64 array inside a row: base64 of its zlib-compressed little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: str


def pack(array: NDArray[Any]) -> Array:
    """An `Array` with the values of `array`, in its own dtype."""
    import numpy as np

    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(values.tobytes(), 6)).decode("ascii")
    return Array(values.dtype.name, tuple(values.shape), data)


def unpack(array: Array) -> NDArray[np.generic]:
    """The values of `array`, read-only."""
    import numpy as np

    raw = zlib.decompress(base64.b64decode(array.data))
    return np.frombuffer(raw, dtype=np.dtype(array.dtype).newbyteorder("<")).reshape(array.shape)


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job and its answer.

    key:            hash of everything that can change the answer, the method's code aside (see `runner.keys`)
    task:           verify (one radius), radius (bisection), sample (class counts of a noise), certify (from counts),
                    property (an instance of VNN-COMP: a network file and a VNN-LIB file)
    index, label:   of the input in the data set's test split; `data_sha256` is of that split's pixels
    method_version: fingerprint of the method's code; differs from today's -> the row is stale
    norm, radius, low, high: the ball (radius is None for radius and certify tasks)
    noise:          e.g. {"kind": "gaussian", "sigma": 0.5} for sample and certify tasks
    limit, memory:  wall seconds and bytes (of the whole process tree) allowed
    certified_radius: answer of radius and certify tasks; prediction: class or -1 (abstain) of certify tasks
    seconds:        wall time of the instance; prepare_seconds: of loading the network and preparing the method
    witness:        float32 input that is misclassified inside the ball
    counts:         of a sample row: int64 (2, classes), selection and estimation
    spec:           of a property row: the VNN-LIB file; `data_sha256` is of it, `dataset` its category, `index` its
                    place in instances.csv; expected: what is known of the answer (see `sokbench.known`)
    log:            the last lines the method printed
    shared:         other jobs ran on the machine at the same time (times are then no benchmark)
    """

    schema: int = 1
    key: str
    run: str
    suite: str
    task: Task
    dataset: str
    data_sha256: str
    index: int
    label: int
    model: str
    model_sha256: str
    method: str
    method_version: str
    parameters: dict[str, Any] = {}
    norm: str
    radius: float | None = None
    low: float | None = None
    high: float | None = None
    noise: dict[str, Any] | None = None
    alpha: float | None = None
    limit: float
    memory: int
    seed: int = 0
    verdict: str = "unknown"
    termination: str = "ok"
    margin: float | None = None
    certified_radius: float | None = None
    prediction: int | None = None
    p: float | None = None
    q: float | None = None
    seconds: float = 0.0
    prepare_seconds: float = 0.0
    witness: Array | None = None
    counts: Array | None = None
    spec: str = ""
    expected: str = ""
    stats: dict[str, Any] = {}
    log: str = ""
    shared: bool = False
    device: str = "cpu"
    finished: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of all rows of one run, written once as run.json beside them."""

    schema: int = 1
    run: str
    suite: str
    suite_sha256: str
    command: str
    started: str
    commit: str
    clean: bool
    python: str
    packages: dict[str, str]
    hardware: dict[str, Any]
    seeds: list[int]
    limits: dict[str, float]
    datasets: dict[str, str]
    models: dict[str, str]
    indices: dict[str, list[int]]
