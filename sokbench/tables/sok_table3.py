"""The SoK's Table III, filled from measured rows: certified accuracy of every method on every model.

One table per suite and setting. In attack rows, the accuracy under the attack stands instead: an upper bound of what
can be certified. Beside it, where the setting is the same, the number the SoK's authors printed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..measured.cells import Cell as Measured
from ..measured.cells import kind_of
from ..measured.names import percent_text
from ..scores import Share
from .grid import Group, groups, published_text, table
from .table import Cell, Table

MARKS = {"timeout": "t", "memory": "m", "crashed": "c", "unsupported": "u", "skipped": "s"}
"""How endings other than an answer are marked beside a number; "t12" stands for 12 timeouts."""

_WORDS = {
    "timeout": "timed out",
    "memory": "ran out of memory",
    "crashed": "crashed",
    "unsupported": "unsupported",
    "skipped": "skipped",
}
_NOTES = (
    "Percent of all inputs, with the Wilson 95% interval. Attacks and clean accuracy: accuracy that remains, an upper "
    "bound of every certified accuracy.",
    "Marks: inputs that ended otherwise, t timeout, m out of memory, c crashed, s skipped, u unsupported; "
    "p10/50: there are rows for 10 of the 50 inputs that others were given, and the share is of those.",
)
_PUBLISHED = (
    "In round brackets: printed by the SoK for the same data set, norm, radius, architecture and training, for weights "
    "of its own."
)


def tables(cells: Sequence[Measured]) -> list[Table]:
    """One table per suite and setting of the verify rows."""
    return [_table(group) for group in groups(cells, "verify")]


def _table(group: Group) -> Table:
    name = f"sok-table3.{group.suite}.{group.setting.slug}"
    title = f"Certified accuracy, {group.setting.text} (suite {group.suite})"
    made = table(group, name, title, certified_cell, _NOTES)
    if any(cell.published for row in made.rows for cell in row.cells):
        return Table(made.name, made.title, made.columns, made.rows, (*_NOTES, _PUBLISHED))
    return made


def certified_cell(group: Group, measured: Measured) -> Cell:
    """Certified accuracy in percent (attacks: remaining accuracy), with its interval and what went otherwise."""
    if measured.unsupported:
        return Cell("unsupported", note=measured.unsupported)
    total = len(measured.rows)
    counts = measured.counts
    if counts.get("skipped", 0) == total:
        return Cell("skipped", note="not tried, by the policy asked for")
    attack = kind_of(measured.contender.method) == "attack"
    share = Share(total - counts.get("falsified", 0) if attack else measured.verified, total)
    marks = [f"{mark}{counts[status]}" for status, mark in MARKS.items() if counts.get(status)]
    words = [f"{counts[status]} of {total} {word}" for status, word in _WORDS.items() if counts.get(status)]
    if total < (every := group.inputs(measured.model)):
        marks.append(f"p{total}/{every}")
        words.append(f"{total} of {every} inputs run")
    return Cell(
        percent_text(share.value),
        100 * share.value,
        100 * share.low,
        100 * share.high,
        published=published_text(measured, "certified_accuracy"),
        marks=" ".join(marks),
        note=", ".join(words),
    )
