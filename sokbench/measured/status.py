"""The statuses a reader sees, one per row: what was claimed where something was, how the run ended otherwise."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..rows import Row


class Status(NamedTuple):
    """code: one character in data files; title and meaning: for the legend."""

    name: str
    code: str
    title: str
    meaning: str


STATUSES: Final = (
    Status("verified", "v", "verified", "proved for every input in the ball"),
    Status("falsified", "f", "falsified", "a misclassified input in the ball was found and checked in float64"),
    Status("unknown", "u", "unknown", "finished without an answer: the bound is too loose"),
    Status("timeout", "t", "timeout", "killed at the time limit"),
    Status("memory", "m", "out of memory", "killed at the memory limit"),
    Status("crashed", "c", "crashed", "ended with an error; the log says which"),
    Status("unsupported", "n", "unsupported", "the method cannot do this soundly, and says why"),
    Status("skipped", "s", "skipped", "not tried, by the policy asked for"),
    Status("missing", "-", "not run", "no row is recorded"),
)
CODES: Final = {status.name: status.code for status in STATUSES}


def status_of(row: Row) -> str:
    """The status of a row. A claim counts however the run ended; a certificate is a claim when it names the label
    with a positive radius."""
    if row.task == "certify" and row.termination == "ok":
        certified = row.prediction == row.label and (row.certified_radius or 0.0) > 0.0
        return "verified" if certified else "unknown"
    if row.task == "radius" and row.termination in ("ok", "timeout"):
        if row.certified_radius:
            return "verified"
        return "timeout" if row.termination == "timeout" else "unknown"
    if row.verdict in ("verified", "falsified"):
        return row.verdict
    return row.termination if row.termination != "ok" else "unknown"
