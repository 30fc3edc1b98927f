"""Suites: which inputs, networks, methods, radii and limits make up a benchmark, in one TOML file each.

`load` reads and checks a suite, `expand` turns it into series of jobs. Neither needs torch.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.errors import InvalidInput, UnknownName
from .schema import SuiteFile

__all__ = ["Suite", "in_memory", "load", "names"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """A suite file that was read and has the right shape. base: where relative paths in it start; sha256: of it."""

    file: SuiteFile
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def base(self) -> Path:
        return self.path.parent


def names() -> list[str]:
    """The suites that can be loaded by name."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name_or_path: str | Path) -> Suite:
    """The suite of that name, or in that file. Raises `UnknownName`, and `InvalidInput` naming file and field."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        path = Path(text)
        if not path.is_file():
            raise InvalidInput(f"no such suite file: {text}")
    elif text in names():
        path = _FOLDER / f"{text}.toml"
    else:
        raise UnknownName("suite", text, names())
    content = path.read_bytes()
    try:
        parsed = msgspec.convert(tomllib.loads(content.decode("utf-8")), SuiteFile)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path.name}: {error}") from None
    _check_name(parsed.name, path)
    return Suite(parsed, path.resolve(), hashlib.sha256(content).hexdigest())


def in_memory(file: SuiteFile, base: Path) -> Suite:
    """A suite that is in no file; relative paths in it start at `base`. Raises `InvalidInput` for a bad name."""
    path = base / f"{file.name}.toml"
    _check_name(file.name, path)
    return Suite(file, path, hashlib.sha256(msgspec.json.encode(file)).hexdigest())


def _check_name(name: str, path: Path) -> None:
    # the name becomes a folder of results
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise InvalidInput(
            f"{path.name}: the suite's name {name!r} may hold letters, digits, - and _ only - at `$.name`"
        )
