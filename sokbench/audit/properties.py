"""Answers about properties of network files: witnesses are evaluated again, answers confronted with them and with what
is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import InvalidInput, Unsupported
from ..core.outcome import Verdict
from ..core.registry import catalog
from ..core.replay import Replay, replay
from ..core.vnnlib import read_property
from ..decision import ANSWERS
from ..known import known
from ..networks import load_network, network_sha256
from ..rows import Row, unpack
from ..suites.instances import file_sha256
from ..suites.methods import resolve
from .claims import ROUNDING
from .finding import Finding, finding


def check_properties(rows: Sequence[Row], base: Path) -> Iterator[Finding]:
    """Findings about the property rows of one network and one property; relative names start at `base`."""
    for row in rows:
        yield from _known(row)
        if row.verdict == Verdict.VERIFIED and row.method in catalog("attack"):
            yield finding("attack_verifies", f"{_asked(row)}: an attack cannot verify", row)
        if row.verdict == Verdict.FALSIFIED and row.witness is None:
            yield finding("missing_witness", f"{_asked(row)}: violated without a witness", row)
    judged = [row for row in rows if row.witness is not None]
    if not judged:
        return
    try:
        replays = _replays(judged, base)
    except (InvalidInput, Unsupported) as error:
        yield finding("unchecked", f"{judged[0].spec} on {judged[0].model}: {error}", judged[0])
        return
    for row, found in replays:
        if found is None or not found.valid:
            why = "has another shape" if found is None else f"misses the unsafe set by {found.exact:g}"
            yield finding("bad_witness", f"{_asked(row)}: the witness {why}", row)
    strict = [(row, found) for row, found in replays if found is not None and found.verdict == "correct"]
    for row in rows:
        yield from _confronted(row, strict)


def _replays(rows: Sequence[Row], base: Path) -> list[tuple[Row, Replay | None]]:
    """The witness of each row, evaluated again; None for one of another shape."""
    network_path, spec_path = resolve(rows[0].model, base), resolve(rows[0].spec, base)
    if network_sha256(str(network_path)) != rows[0].model_sha256:
        raise InvalidInput("the network is not the one recorded")
    asked = read_property(spec_path)
    if file_sha256(spec_path) != rows[0].data_sha256:
        raise InvalidInput("the property is not the one recorded")
    network = load_network(network_path)
    found: list[tuple[Row, Replay | None]] = []
    for row in rows:
        assert row.witness is not None
        x = np.array(unpack(row.witness), dtype=np.float32).reshape(-1)
        found.append((row, replay(asked, network, x, network_path) if x.size == asked.inputs else None))
    return found


def _confronted(row: Row, witnesses: Sequence[tuple[Row, Replay]]) -> Iterator[Finding]:
    """At most one finding: a correct witness, whoever found it, contradicts "holds" and any bound above what it
    attains."""
    if not witnesses:
        return
    other, least = min(witnesses, key=lambda pair: pair[1].exact)
    if row.verdict == Verdict.VERIFIED:
        message = f"{_asked(row)}: holds, but the witness of {other.method} violates the property"
        yield finding("conflict", message, row, other)
    elif row.margin is not None and row.margin > least.exact + ROUNDING * (1 + abs(least.exact)):
        message = f"{_asked(row)}: bound {row.margin:g}, but the witness of {other.method} attains {least.exact:g}"
        yield finding("bound_above_loss", message, row, *(() if other is row else (other,)))


def _known(row: Row) -> Iterator[Finding]:
    before = known(row.expected)
    answer = ANSWERS.get(Verdict(row.verdict))
    if answer is None or before.answer not in ANSWERS.values() or answer == before.answer:
        return
    message = f"{_asked(row)}: {answer}, known is {before.answer} ({before.basis or 'no basis given'})"
    yield finding("contradicts_known" if before.certain else "differs_from_known", message, row)


def _asked(row: Row) -> str:
    return f"{row.method}, {Path(row.spec).name}"
