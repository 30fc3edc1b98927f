"""The SoK site's tables of average certified radius, in the layout of Table III, from rows whose answer is a radius.

The site's text says that it averages over all inputs, its program divides by the correctly classified ones; the number
printed here is over all inputs, and the note gives the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..measured.cells import Cell as Measured
from ..scores import average_certified_radius
from .grid import Group, groups, table
from .table import Cell, Table

_NOTES = (
    "Average certified radius over all inputs; misclassified inputs and abstentions count as 0. The note of a cell "
    "gives the average over the correctly classified inputs, which is how the SoK's site computes it.",
)


def tables(cells: Sequence[Measured]) -> list[Table]:
    """One table per suite and norm, of the radius rows and of the certify rows."""
    return [
        table(
            group,
            f"sok-radii.{task}.{group.suite}.{group.setting.slug}",
            f"Average certified radius, {group.setting.text} (suite {group.suite})",
            _cell,
            _NOTES,
        )
        for task in ("radius", "certify")
        for group in groups(cells, task)
    ]


def _cell(group: Group, measured: Measured) -> Cell:
    if measured.unsupported:
        return Cell("unsupported", note=measured.unsupported)
    found = average_certified_radius(measured.rows)
    over_correct = "none is classified correctly" if found.over_correct is None else f"{found.over_correct:.4g}"
    note = f"over the {found.correct} correctly classified of {found.n} inputs: {over_correct}"
    return Cell(f"{found.over_all:.4g}", found.over_all, note=note)
