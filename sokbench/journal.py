"""The journal: results/<suite>/<run>/rows.jsonl, one JSON row per line, appended and synced one by one.

Nothing is edited in place; of two rows with one key the newer wins (runs sort by name, which starts with their date).
A process that dies while it writes leaves a torn line: it is reported, skipped, and costs that row only. Rows of a
newer schema are refused, because a field may mean something else there.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, final

import msgspec

from .core.errors import InvalidInput
from .core.outcome import Termination
from .rows import SCHEMA, Row, Run

if TYPE_CHECKING:
    from .parts import Part

ROWS: Final = "rows.jsonl"
RUN: Final = "run.json"
TERMINATIONS: Final = tuple(map(str, Termination))

T = TypeVar("T", bound=msgspec.Struct)
Report = Callable[[str], None]


def warn(message: str) -> None:
    """The default for reports of damaged lines: a Python warning."""
    warnings.warn(message, stacklevel=3)


@final
class Journal:
    """The open journal of one run, for appending. Several processes may append to the same file.

    name: of the file; `sokbench.parts` keeps one beside that of the rows.
    """

    def __init__(self, folder: Path, name: str = ROWS) -> None:
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(folder, error) from None

    def append(self, row: Row | Part) -> None:
        """Write and sync one row. Raises `InvalidInput` if the disk is full; what was recorded before stays."""
        line = msgspec.json.encode(msgspec.structs.replace(row, schema=SCHEMA)) + b"\n"
        try:
            # the lock makes "is the last line whole?" and the write one step
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if self._torn():
                    line = b"\n" + line
                written = os.write(self._file, line)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            os.fsync(self._file)
        except OSError as error:
            raise _unwritable(self.path.parent, error) from None
        if written < len(line):
            raise InvalidInput(f"no space left for results in {self.path.parent}; free some and repeat the command")

    def _torn(self) -> bool:
        end = os.lseek(self._file, 0, os.SEEK_END)
        return end > 0 and os.pread(self._file, 1, end - 1) != b"\n"

    def lines(self) -> int:
        """How many rows are in the file, of this and of other processes."""
        with self.path.open("rb") as lines:
            return sum(line.endswith(b"\n") for line in lines)

    def close(self) -> None:
        os.close(self._file)


def _unwritable(folder: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"cannot write results to {folder} ({error.strerror}); what is recorded is safe: mend it and repeat the command"
    )


def runs(results: Path, suite: str) -> list[Path]:
    """Folders of the runs of a suite, oldest first."""
    return sorted(path.parent for path in (results / suite).glob(f"*/{ROWS}"))


def read_rows(results: Path, suite: str, report: Report = warn) -> list[Row]:
    """The newest row of every key, oldest first. Raises `InvalidInput` for a newer schema."""
    newest: dict[str, Row] = {}
    for row in scan(results, suite, Row, report):
        newest.pop(row.key, None)
        newest[row.key] = row
    return list(newest.values())


def read_runs(results: Path, suite: str) -> list[Run]:
    """What is known of every run of a suite, oldest first."""
    found = []
    for path in sorted((results / suite).glob(f"*/{RUN}")):
        try:
            run = msgspec.json.decode(path.read_bytes(), type=Run)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{path.relative_to(results)} is broken: {error}") from None
        if run.schema > SCHEMA:
            raise _newer(f"{path.relative_to(results)}", run.schema)
        found.append(run)
    return found


def write_run(folder: Path, run: Run) -> None:
    """Write run.json, once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{RUN}.part"
        partial.write_bytes(_one_field_per_line(run))
        partial.rename(folder / RUN)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _one_field_per_line(run: Run) -> bytes:
    """Readable JSON: pretty, but long lists of indices on one line."""
    fields = msgspec.to_builtins(run)
    lines = [b" " + msgspec.json.encode(name) + b": " + msgspec.json.encode(value) for name, value in fields.items()]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def scan(results: Path, suite: str, kind: type[T], report: Report = warn, name: str = ROWS) -> Iterator[T]:
    """Every recorded line of a suite, oldest first, decoded as `kind`: `Row`, or a struct with fewer of its fields,
    which is several times faster because the rest is skipped."""
    decode = msgspec.json.Decoder(kind).decode
    for path in sorted((results / suite).glob(f"*/{name}")):
        place = f"{suite}/{path.parent.name}/{name}"
        with path.open("rb") as lines:
            for position, line in enumerate(lines, start=1):
                try:
                    row = decode(line)
                except msgspec.DecodeError as error:
                    _refuse_newer(line, place, position)
                    report(f"{place}, line {position} is damaged and left out ({error}); its job will be run again")
                    continue
                if getattr(row, "schema", 1) > SCHEMA:
                    raise _newer(f"{place}, line {position}", getattr(row, "schema", 1))
                yield row


class _Schema(msgspec.Struct):
    schema: int = 1


def _refuse_newer(line: bytes, place: str, position: int) -> None:
    """A line that does not decode may be whole, and of a newer schema."""
    try:
        schema = msgspec.json.decode(line, type=_Schema).schema
    except msgspec.DecodeError:
        return
    if schema > SCHEMA:
        raise _newer(f"{place}, line {position}", schema)


def _newer(place: str, schema: int) -> InvalidInput:
    return InvalidInput(
        f"{place} was written by a newer sokbench (schema {schema}, this one reads {SCHEMA}); update sokbench"
    )


class Recorded(NamedTuple):
    """A recorded row as planning sees it. position: among all rows of the suite, oldest first."""

    position: int
    version: str
    termination: str


class _Indexed(msgspec.Struct):
    """The fields of a row that planning needs."""

    key: str
    method_version: str
    schema: int = 1
    termination: Termination = Termination.OK


@final
class Index:
    """What is recorded of a suite, small enough to hold a million keys: per key one integer."""

    def __init__(self) -> None:
        self._entries: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._names: list[str] = []
        self.rows = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: str, method_version: str, termination: str) -> None:
        """Note a row; a later one of the same key replaces it."""
        version = self._versions.setdefault(method_version, len(self._versions))
        if version == len(self._names):
            self._names.append(method_version)
        code = TERMINATIONS.index(termination)
        self.rows += 1
        self._entries[key] = self.rows << 32 | version << 8 | code

    def get(self, key: str) -> Recorded | None:
        """The newest row of a key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        return Recorded(entry >> 32, self._names[entry >> 8 & 0xFFFFFF], TERMINATIONS[entry & 0xFF])


def read_index(results: Path, suite: str, report: Report = warn) -> Index:
    """The index of all recorded rows of a suite. Raises `InvalidInput` for a newer schema."""
    index = Index()
    for row in scan(results, suite, _Indexed, report):
        index.add(row.key, row.method_version, row.termination)
    return index
