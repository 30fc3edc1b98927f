"""The SoK site's tables of verification time: mean seconds per input, in the layout of Table III."""

from __future__ import annotations

from collections.abc import Sequence

from ..measured.cells import Cell as Measured
from ..scores import par2, times
from .grid import Group, groups, published_text, table
from .table import Cell, Table

_NOTES = (
    "Mean wall seconds of the inputs that were tried, each at most its limit. The note of a cell gives the median and "
    "PAR2 (mean with twice the limit for what was not decided). Marked shared: other jobs ran at the same time.",
    "In round brackets: printed by the SoK for the same setting, on other hardware.",
)


def tables(cells: Sequence[Measured]) -> list[Table]:
    """One table per suite and setting of the verify rows."""
    return [
        table(
            group,
            f"sok-times.{group.suite}.{group.setting.slug}",
            f"Seconds per input, {group.setting.text} (suite {group.suite})",
            _cell,
            _NOTES,
        )
        for group in groups(cells, "verify")
    ]


def _cell(group: Group, measured: Measured) -> Cell:
    found = times(measured.rows)
    if measured.unsupported or found.mean is None or found.median is None:
        return Cell("unsupported" if measured.unsupported else "skipped", note=measured.unsupported)
    return Cell(
        f"{found.mean:.3g}",
        found.mean,
        published=published_text(measured, "verify_time"),
        marks="shared" if measured.shared else "",
        note=f"median {found.median:.3g} s, PAR2 {par2(measured.rows):.3g} s, {found.tried} inputs",
    )
