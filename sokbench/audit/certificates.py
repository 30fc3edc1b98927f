"""Certificates of randomized smoothing against the class counts they were computed from, and against each other.

They speak about the smoothed classifier, so witnesses against the base network say nothing about them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..core.certifier import ABSTAIN
from ..rows import Row, unpack
from .finding import Finding, finding
from .promises import check_promises


def check_certificates(rows: Sequence[Row]) -> Iterator[Finding]:
    """Findings about the sample and certify rows of one network on one data set."""
    groups: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        parameters = row.parameters
        stopped = "stop" in parameters or "stopped" in parameters
        samples = [parameters.get(name) for name in ("n0", "n", "precision")]
        drawn = [row.index, row.noise, samples, stopped, row.seed, row.limit]
        groups[msgspec.json.encode(drawn, order="deterministic")].append(row)
    for together in groups.values():
        counts = None
        for sample in (row for row in together if row.task == "sample" and row.counts is not None):
            counts = _counts(sample)
            yield from _check_counts(sample, counts)
        certificates = [row for row in together if row.task == "certify" and row.termination == "ok"]
        for row in certificates:
            yield from _check_certificate(row, counts)
        by_alpha: dict[float | None, list[Row]] = defaultdict(list)
        for row in certificates:
            by_alpha[row.alpha].append(row)
        for comparable in by_alpha.values():
            yield from check_promises(comparable)


def _counts(sample: Row) -> NDArray[np.generic]:
    assert sample.counts is not None
    return unpack(sample.counts)


def _check_counts(sample: Row, counts: NDArray[np.generic]) -> Iterator[Finding]:
    wanted = [sample.parameters.get("n0"), sample.parameters.get("n")]
    if counts.ndim == 2 and "stop" in sample.parameters:
        wanted[1] = min(int(counts[1].sum()), int(sample.parameters["n"]))  # it may have seen enough before
    if counts.ndim != 2 or counts.sum(axis=1).tolist() != wanted or bool((counts < np.int64(0)).any()):
        yield finding("bad_counts", f"class counts of shape {counts.shape} do not add up to {wanted}", sample)


def _check_certificate(row: Row, counts: NDArray[np.generic] | None) -> Iterator[Finding]:
    radius, prediction = row.certified_radius, row.prediction
    if radius is None or prediction is None or math.isnan(radius) or radius < 0:
        yield finding("bad_certificate", f"{row.method}: prediction {prediction}, radius {radius}", row)
        return
    if radius > 0 and prediction == ABSTAIN:
        yield finding("bad_certificate", f"{row.method}: abstains, and certifies the radius {radius:g}", row)
    if counts is None or prediction == ABSTAIN:
        return
    selection, estimation = counts
    if prediction != int(selection.argmax()):
        yield finding("bad_certificate", f"{row.method}: predicts {prediction}, not the class selected", row)
    elif row.p is not None and row.p > float(estimation[prediction]) / float(estimation.sum()):
        share = float(estimation[prediction]) / float(estimation.sum())
        yield finding("bad_certificate", f"{row.method}: the lower bound {row.p:g} is above the share {share:g}", row)
