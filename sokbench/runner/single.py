"""Jobs that are asked once and not recorded: `sokbench verify` and `sokbench certify`. Limits hold as in a suite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..core.errors import InvalidInput
from ..rows import Row
from ..suites import Suite
from ..suites.expand import expand
from ..suites.instances import instance_of, property_batch
from ..suites.methods import choose
from ..suites.schema import MethodName, SuiteFile, size
from ..suites.series import Batch
from .recording import Stamp
from .session import PREPARING, Session
from .workers import Zygote

_PREPARE_LIMIT = 300.0


def answer(file: SuiteFile, base: Path) -> list[Row]:
    """Run every job of a suite that exists in memory only; relative paths in it start at `base`.

    Raises `InvalidInput` as `expand` does, and for a network that cannot be loaded.
    """
    return _run(file.name, expand(Suite(file, base / f"{file.name}.toml", "")).batches)


def answer_property(
    network: Path, spec: Path, method: MethodName, limit: float, memory: str, seed: int, base: Path
) -> Row:
    """Ask whether the property in the VNN-LIB file `spec` holds for the network in a file.

    limit: seconds; memory: such as "8 GiB". Raises `InvalidInput` for files that are missing, broken, or not of the
    same numbers of inputs and outputs, and for a method that there is none of.
    """
    for path in (network, spec):
        if not path.is_file():
            raise InvalidInput(f"no such file: {path}")
    chosen = choose(method, ("verifier", "attack"), base)
    instance = instance_of(network.resolve(), spec.resolve(), limit, base)
    (row,) = _run("verify", [property_batch(instance, chosen, "", limit, _PREPARE_LIMIT, size(memory), seed)])
    return row


def _run(name: str, batches: Iterable[Batch]) -> list[Row]:
    rows: list[Row] = []
    with Zygote() as zygote:
        Session(zygote, Stamp("", name, shared=False), {}, rows.append).run(batches)
    for row in rows:
        reason = str(row.stats.get("reason", ""))
        # a defect would have left its traceback in the log
        if row.termination == "crashed" and not row.log and (reason.startswith(PREPARING) or row.task == "property"):
            raise InvalidInput(reason.removeprefix(PREPARING))
    return rows
