"""What the audit reports."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..rows import Row

Kind = Literal[
    "conflict",
    "bound_above_loss",
    "bad_witness",
    "missing_witness",
    "wrong_label",
    "attack_verifies",
    "bad_number",
    "bad_certificate",
    "bad_counts",
    "not_monotone",
    "looser_than_promised",
    "contradicts_known",
    "differs_from_known",
    "unchecked",
]
Severity = Literal["error", "warning"]

KINDS: dict[Kind, str] = {
    "conflict": "verified, or certified up to a radius, although a misclassified input lies in the ball",
    "bound_above_loss": "a lower bound of the margin is above a margin that an input of the ball attains",
    "bad_witness": "the witness is outside the ball or the box, or is classified correctly",
    "missing_witness": "falsified without a witness",
    "wrong_label": "the row's label is not that of the input",
    "attack_verifies": "an attack claims to have verified",
    "bad_number": "a bound or radius that is no finite number, or a negative radius",
    "bad_certificate": "a smoothing certificate that does not follow from its class counts",
    "bad_counts": "class counts that do not add up to the number of samples",
    "not_monotone": "certified at one radius, but not at a smaller one",
    "looser_than_promised": "a bound below that of a method which theory says it dominates",
    "contradicts_known": "an instance holds, although a counterexample is known that was evaluated again",
    "differs_from_known": "another answer than the one known, which rests on what other tools said",
    "unchecked": "the network or the data set is not here as it was recorded, so witnesses were not evaluated",
}
"""What each kind means, for people."""

_WARNINGS: tuple[Kind, ...] = ("not_monotone", "looser_than_promised", "differs_from_known", "unchecked")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong (error) or strange (warning).

    methods: at fault, as far as that is certain; rows: keys of the rows it is about, the one at fault first
    """

    kind: Kind
    severity: Severity
    message: str
    methods: tuple[str, ...]
    rows: tuple[str, ...]
    dataset: str
    model: str
    index: int | None = None


def finding(kind: Kind, message: str, row: Row, *others: Row) -> Finding:
    """A finding about `row`, whose method is at fault; the other rows are the evidence."""
    return Finding(
        kind=kind,
        severity="warning" if kind in _WARNINGS else "error",
        message=message,
        methods=(row.method,),
        rows=tuple(one.key for one in (row, *others)),
        dataset=row.dataset,
        model=row.model,
        index=row.index,
    )


def asked(row: Row) -> str:
    """The question of a row in words: "crown, linf 0.1"."""
    radius = "" if row.radius is None else f" {row.radius:g}"
    return f"{row.method}, {row.norm}{radius}"
