"""Job keys: a hash of everything that can change the answer, the method's code aside (`Row.method_version` is that).

The same job in two suites has the same key. Names are not in it: what counts is the hash of the pixels and of the
weights. A recorded key is what makes resuming a run a matter of looking up.
"""

from __future__ import annotations

import hashlib
from typing import Any, final

import msgspec

from ..suites.series import Series

_FIELDS = (
    "task",
    "data_sha256",
    "model_sha256",
    "method",
    "parameters",
    "norm",
    "radius",
    "low",
    "high",
    "noise",
    "alpha",
    "limit",
    "prepare_limit",
    "memory",
    "seed",
)


@final
class Keys:
    """The keys of one series, 32 hex digits each."""

    def __init__(self, series: Series) -> None:
        canonical = msgspec.json.encode(_canonical(series), order="deterministic")
        self._series = hashlib.blake2b(canonical, digest_size=16)

    def of(self, index: int) -> str:
        """The key of input `index`."""
        # a million jobs share few series, so the series is hashed once and its state copied
        digest = self._series.copy()
        digest.update(b"%d" % index)
        return digest.hexdigest()


def _canonical(series: Series) -> dict[str, Any]:
    fields = {name: getattr(series, name) for name in _FIELDS}
    # a certificate also depends on how the counts were drawn
    fields["counts"] = None if series.counts is None else _canonical(series.counts)
    return fields
