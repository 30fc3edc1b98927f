"""The paper tables: from recorded rows, from published records, and as they were printed.

`build` writes them as text, CSV, LaTeX, HTML and Markdown; `tables(name, results_dir)` gives them as data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..core.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from .table import Table

NAMES: Final = {
    "sok-table3": "certified accuracy of every method on every model (the SoK's Table III), per suite and setting",
    "sok-times": "seconds per input, in the same layout",
    "sok-table4": "certified accuracy of smoothed classifiers over the radius (the SoK's Table IV), per norm",
    "sok-radii": "average certified radius, in the same layout",
    "leaderboard": "published and measured records (the SoK's Table II), ranked, per setting",
    "papers": "all tables of the five papers as printed",
}
"""What `build` can write, with a line on each."""

_MEASURED = {
    "sok-table3": "sok_table3",
    "sok-times": "sok_times",
    "sok-table4": "sok_table4",
    "sok-radii": "sok_radii",
}


def names() -> list[str]:
    """The names of the tables."""
    return list(NAMES)


def tables(name: str, results_dir: Path, suites: Sequence[str] | None = None) -> list[Table]:
    """The tables that one name stands for.

    name: one of `names()`, or a single paper table such as "sok2022_table4"; suites: those whose rows are read (None:
    all recorded ones). Raises `UnknownName`, and `InvalidInput` as `journal.read_rows` and `leaderboard.load` do.
    """
    from . import leaderboard, papers

    if name in _MEASURED:
        return _measured(name, results_dir, suites)
    if name == "leaderboard":
        return leaderboard.tables()
    if name == "papers":
        return papers.tables()
    known = papers.layouts()
    if name not in known:
        raise UnknownName("table", name, [*NAMES, *known])
    return [papers.table(name)]


def build(names: Sequence[str], results_dir: Path, out_dir: Path, suites: Sequence[str] | None = None) -> list[Path]:
    """Write tables into `out_dir`, each in every format, and return the files. No names: all.

    Raises as `tables` does, and `InvalidInput` if `out_dir` cannot be written.
    """
    from .writers import FORMATS

    written = []
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name in names or NAMES:
            for table in tables(name, results_dir, suites):
                for suffix, write in FORMATS.items():
                    path = out_dir / f"{table.name}.{suffix}"
                    path.write_text(write(table), encoding="utf-8")
                    written.append(path)
    except OSError as error:
        raise InvalidInput(f"cannot write tables to {out_dir}: {error.strerror}") from None
    return written


def _measured(name: str, results_dir: Path, suites: Sequence[str] | None) -> list[Table]:
    from importlib import import_module

    from .. import journal
    from ..measured.cells import gather, recorded_suites

    found: list[Table] = []
    for suite in recorded_suites(results_dir) if suites is None else suites:
        cells = gather(journal.read_rows(results_dir, suite))
        found += import_module(f".{_MEASURED[name]}", __name__).tables(cells)
    return found
