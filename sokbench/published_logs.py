"""Certification logs of others, in the form that Cohen et al.'s program writes: published rows, one per image.

A log is a table separated by tabs, `idx label predict radius correct time`, with -1 for an abstention. It is kept as it
came, results/published/logs/NAME.tsv, beside NAME.toml, which says what it is of and where it is from. Rows of logs are
never mixed with measured ones: they stand in rows of their own in tables.
"""

from __future__ import annotations

import csv
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from .core.certifier import ABSTAIN
from .core.errors import InvalidInput
from .core.registry import certifier, component
from .published_cells import PUBLISHED
from .scores import Share

FOLDER: Final = PUBLISHED / "logs"
COLUMNS: Final = ("idx", "label", "predict", "radius", "correct", "time")


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a log is of. model, training: as the paper says; certifier: a slug; noise: as suites write it; n, alpha: as
    stated by the authors, 0 where they do not say; source: where the log was found."""

    dataset: str
    norm: str
    model: str
    training: str
    certifier: str
    noise: dict[str, float | int | str]
    source: str
    n: int = 0
    alpha: float = 0.0
    notes: str = ""


class Line(msgspec.Struct, frozen=True):
    """One image. prediction: a class or -1; radius: as printed, mostly rounded to three digits; seconds: None where the
    log's time is in no form that we read."""

    index: int
    label: int
    prediction: int
    radius: float
    correct: bool
    seconds: float | None


@dataclass(frozen=True)
class Log:
    name: str
    about: About
    lines: tuple[Line, ...]

    def certified(self, radius: float) -> Share:
        """Images that are classified correctly with a radius of at least this, as the program's own analysis counts."""
        return Share(sum(line.correct and line.radius >= radius for line in self.lines), len(self.lines))


def read(path: Path) -> tuple[Line, ...]:
    """The lines of a log. Raises `InvalidInput` naming file and line for anything that does not fit."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read ({error})") from None
    if not rows or tuple(name.strip() for name in rows[0])[:5] != COLUMNS[:5]:
        raise InvalidInput(f"{path.name} is no certification log: its first line is not {' '.join(COLUMNS)}")
    lines = [_line(path, number, row) for number, row in enumerate(rows[1:], start=2) if row]
    if not lines:
        raise InvalidInput(f"{path.name} has no rows")
    if len({line.index for line in lines}) < len(lines):
        raise InvalidInput(f"{path.name} has several rows for one image")
    return tuple(lines)


def _line(path: Path, number: int, row: list[str]) -> Line:
    try:
        index, label, prediction, radius = int(row[0]), int(row[1]), int(row[2]), float(row[3])
        correct = {"0": False, "1": True, "False": False, "True": True}[row[4].strip()]
    except (ValueError, IndexError, KeyError):
        raise InvalidInput(f"{path.name}, line {number}: not {' '.join(COLUMNS)}: {' '.join(row)}") from None
    if not math.isfinite(radius) or radius < 0 or index < 0 or prediction < ABSTAIN:
        raise InvalidInput(f"{path.name}, line {number}: a radius >= 0, an index >= 0 and a class or -1 are expected")
    if correct != (prediction == label) or (prediction == ABSTAIN and radius > 0):
        raise InvalidInput(f"{path.name}, line {number}: correct, predict, label and radius contradict each other")
    return Line(index, label, prediction, radius, correct, _seconds(row[5].strip()) if len(row) > 5 else None)


def _seconds(text: str) -> float | None:
    """Seconds as a number, or as H:MM:SS.ffffff."""
    try:
        value = 0.0
        for part in text.split(":"):
            value = 60 * value + float(part)
        return value
    except ValueError:
        return None


def impossible(about: About, lines: tuple[Line, ...]) -> str:
    """One sentence if the largest radius is beyond what n samples at alpha can certify, whatever they are; else ""."""
    if not about.n or not about.alpha:
        return ""
    bound = about.alpha ** (1.0 / about.n)  # Clopper and Pearson's, of n hits in n samples
    noise = component("randomized_smoothing.noise").from_spec(about.noise)
    largest = float(certifier(about.certifier).radius(bound, None, noise))
    found = max(line.radius for line in lines)
    # printed to three significant digits: up to half a unit of the third
    if found <= largest * 1.005:
        return ""
    return (
        f"the largest radius, {found:g}, is beyond {largest:.4g}, the most that n = {about.n} and "
        f"alpha = {about.alpha:g} can certify: the log was made with others"
    )


def store(path: Path, name: str, about: About, folder: Path = FOLDER) -> Log:
    """File a log and what it is of; an earlier one of the same name is replaced. Raises as `read` does."""
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise InvalidInput(f"the log's name {name!r} may hold letters, digits, - and _ only")
    certifier(about.certifier).radius(0.9, None, component("randomized_smoothing.noise").from_spec(about.noise))
    lines = read(path)
    problem = impossible(about, lines)
    if problem:
        about = msgspec.structs.replace(about, notes=". ".join(filter(None, [about.notes, problem])))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tsv").write_bytes(path.read_bytes())
        (folder / f"{name}.toml").write_text(_toml(about), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write to {folder}: {error.strerror}") from None
    return Log(name, about, lines)


def load(folder: Path = FOLDER) -> list[Log]:
    """All filed logs, by name. Raises `InvalidInput` for one that is malformed."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            about = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), About)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise InvalidInput(f"{path.name}: {error}") from None
        found.append(Log(path.stem, about, read(path.with_suffix(".tsv"))))
    return found


def _toml(about: About) -> str:
    lines = []
    for name, value in msgspec.to_builtins(about).items():
        if isinstance(value, dict):
            lines.append(f"{name} = {{ {', '.join(f'{key} = {_literal(one)}' for key, one in value.items())} }}")
        else:
            lines.append(f"{name} = {_literal(value)}")
    return "\n".join(lines) + "\n"


def _literal(value: float | int | str) -> str:
    # the quoting of a JSON text is also that of a TOML basic string
    return msgspec.json.encode(value).decode() if isinstance(value, str) else repr(value)
