"""Jobs that are asked once and not recorded: `sokbench verify` and `sokbench certify`. Limits hold as in a suite."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InvalidInput
from ..rows import Row
from ..suites import Suite
from ..suites.expand import expand
from ..suites.schema import SuiteFile
from .recording import Stamp
from .session import PREPARING, Session
from .workers import Zygote


def answer(file: SuiteFile, base: Path) -> list[Row]:
    """Run every job of a suite that exists in memory only; relative paths in it start at `base`.

    Raises `InvalidInput` as `expand` does, and for a network that cannot be loaded.
    """
    expansion = expand(Suite(file, base / f"{file.name}.toml", ""))
    rows: list[Row] = []
    with Zygote() as zygote:
        Session(zygote, Stamp("", file.name, shared=False), {}, rows.append).run(expansion.batches)
    for row in rows:
        reason = str(row.stats.get("reason", ""))
        # a defect would have left its traceback in the log
        if row.termination == "crashed" and reason.startswith(PREPARING) and not row.log:
            raise InvalidInput(reason.removeprefix(PREPARING))
    return rows
