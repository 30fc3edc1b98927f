"""`sokbench verify NETWORK SPEC`: does a property in VNN-LIB hold? As VNN-COMP asks, and answered in its words."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InvalidInput
from ..decision import answer_of
from .options import print_json

if TYPE_CHECKING:
    from ..rows import Row

_DEFAULT = "beta_crown"
_RESULT_WORDS = {"holds": "unsat", "violated": "sat"}
_EXIT_CODES = {"ok": 0, "timeout": 0, "unsupported": 3}


def verify_property(
    network: Path, spec: Path, method: str | None, parameters: dict[str, Any], limit: float, memory: str, seed: int,
    as_json: bool, result: Path | None, proof: Path | None,
) -> int:  # fmt: skip
    """Ask, and print the answer; method: None for beta_crown; result: where to write it as tools of VNN-COMP do;
    proof: where to put the proof of what holds.

    Returns 0 if the method ran (whatever it found, unknown and timeout included), 3 if the question is outside what it
    can do, and 1 if it crashed or ran out of memory. Raises `InvalidInput` and `Unsupported` for files that cannot
    be read.
    """
    from ..core.vnnlib import read_property
    from ..runner.single import answer_property

    if not network.name.endswith((".onnx", ".onnx.gz")):
        raise InvalidInput(f"{network}: a VNN-LIB property is asked of a network in an .onnx file")
    read_property(spec)  # a broken one is reported before a worker starts
    named = {"method": method or _DEFAULT, **parameters}
    with tempfile.TemporaryDirectory() as folder:
        proofs = {} if proof is None else {"proofs": folder}
        row = answer_property(network, spec, {**named, **proofs}, limit, memory, seed, Path.cwd())
        answer = answer_of(row.verdict, row.termination)
        if proof is not None and answer == "holds":
            _join(sorted(Path(folder).iterdir()), proof)
    witness = _witness(row)
    if result is not None:
        result.write_text(f"{_RESULT_WORDS.get(answer, answer)}\n{witness}", encoding="utf-8")
    reason = str(row.stats.get("reason", ""))
    if as_json:
        stats = {name: value for name, value in row.stats.items() if name != "outputs"}
        print_json(
            {
                "answer": answer,
                "witness": witness or None,
                "seconds": row.seconds,
                "margin": row.margin,
                "stats": {**stats, "termination": row.termination, "prepare_seconds": row.prepare_seconds},
            }
        )
    else:
        click.echo(answer)
        click.echo(witness, nl=False)
        margin = "" if row.margin is None else f", margin {row.margin:.6g}"
        click.echo(f"{row.method}: {row.seconds:.3f} s, preparation {row.prepare_seconds:.2f} s{margin}", err=True)
    if row.termination not in _EXIT_CODES or row.termination == "unsupported":
        click.echo(f"{row.termination}: {reason or 'no reason given'}", err=True)
    return _EXIT_CODES.get(row.termination, 1)


def _join(proofs: list[Path], file: Path) -> None:
    """All proofs in one file. They are compressed already."""
    if not proofs:
        click.echo("no proof: bounds decided it before a search began (nothing to split, or no time)", err=True)
        return
    with zipfile.ZipFile(file, "w") as archive:
        for each in proofs:
            archive.write(each, each.name)


def _witness(row: Row) -> str:
    """The counterexample of a row in VNN-LIB's form; empty if there is none."""
    if row.witness is None:
        return ""
    import numpy as np

    from ..core.vnnlib_text import write_counterexample
    from ..rows import unpack

    outputs: Any = np.asarray(row.stats.get("outputs", ()), dtype=np.float64)
    return write_counterexample(unpack(row.witness).astype(np.float64).reshape(-1), outputs)
