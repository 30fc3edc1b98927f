"""Jobs that are asked once and not recorded: `sokbench verify` and `sokbench certify`. Limits hold as in a suite."""

from __future__ import annotations

from pathlib import Path

from ..rows import Row
from ..suites import Suite
from ..suites.expand import expand
from ..suites.schema import SuiteFile
from .recording import Stamp
from .session import Session
from .workers import Zygote


def answer(file: SuiteFile, base: Path) -> list[Row]:
    """Run every job of a suite that exists in memory only; relative paths in it start at `base`.

    Raises `InvalidInput` as `expand` does.
    """
    expansion = expand(Suite(file, base / f"{file.name}.toml", ""))
    rows: list[Row] = []
    with Zygote() as zygote:
        Session(zygote, Stamp("", file.name, shared=False), {}, rows.append).run(expansion.batches)
    return rows
