"""The record files: TOML, one per setting, made to be read, edited and reviewed by people.

The head of a file says data set, norm and radius once; each [[record]] is one entry (the other fields of
`sokbench.published.Record`). Adding a record inserts its lines in order of certified accuracy and touches nothing
else, so that comments stay and a review shows one block.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec

from ..core.errors import InvalidInput
from ..core.registry import ROOT
from ..published import Record

FOLDER: Final = ROOT / "results" / "published" / "leaderboard"
_BLOCK = "[[record]]"
_HEAD = ("dataset", "norm", "eps")
# the order of fields in a file; dataset, norm and eps stand in its head
_FIELDS = (
    *("title", "method", "certified_accuracy", "clean_accuracy", "attack_accuracy", "probabilistic"),
    *("training", "verification", "model", "venue", "year", "date", "url", "notes"),
    *("origin", "run", "certainty", "source"),
)


@dataclass(frozen=True, order=True)
class Setting:
    """What the entries of one ranking have in common. eps_text: as printed, such as "8/255"."""

    dataset: str
    norm: str
    eps_text: str

    @property
    def eps(self) -> float:
        return parse_eps(self.eps_text)

    @property
    def slug(self) -> str:
        """Name of the file and of the page, such as cifar10-linf-8-255."""
        dataset = re.sub(r"[^a-z0-9]", "", self.dataset.lower())
        return f"{dataset}-{self.norm}-{re.sub(r'[^0-9]', '-', self.eps_text)}"

    @property
    def title(self) -> str:
        norm = {"linf": "l∞", "l2": "l2", "l1": "l1", "l0": "l0"}[self.norm]
        return f"{self.dataset}, {norm}, ε = {self.eps_text}"


def parse_eps(text: str) -> float:
    """The radius that "8/255" or "0.3" stands for. Raises `InvalidInput` unless it is a positive number."""
    try:
        value = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if value <= 0:
        raise InvalidInput(f"the radius {text!r} is not a positive number or a fraction such as 8/255")
    return value


def setting_of(record: Record) -> Setting:
    return Setting(record.dataset, record.norm, record.eps_text)


def load(folder: Path = FOLDER) -> list[Record]:
    """All records, file by file. Raises `InvalidInput`, naming file and entry, for what is malformed."""
    return [record for _, record in load_with_places(folder)]


def load_with_places(folder: Path) -> Iterator[tuple[str, Record]]:
    """Every record with its place, such as "cifar10-linf-8-255.toml, record 3". Raises `InvalidInput`."""
    for path in sorted(folder.glob("*.toml")):
        content = _parsed(path)
        head = {name: content.pop(name, None) for name in _HEAD}
        records = content.pop("record", [])
        if content:
            raise InvalidInput(f"{path.name} has unknown fields before the first record: {', '.join(content)}")
        if not isinstance(records, list) or not records:
            raise InvalidInput(f"{path.name} has no [[record]]")
        setting = _setting(head, path)
        for position, fields in enumerate(records, start=1):
            place = f"{path.name}, record {position}"
            yield place, _record(fields, setting, place)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}") from None


def _setting(head: dict[str, Any], path: Path) -> Setting:
    if not all(isinstance(head[name], str) for name in _HEAD):
        raise InvalidInput(f'{path.name} must begin with dataset, norm and eps as texts, such as eps = "8/255"')
    setting = Setting(head["dataset"], head["norm"], head["eps"])
    if setting.slug != path.stem:
        raise InvalidInput(f"{path.name} holds records of {setting.slug}; rename it to {setting.slug}.toml")
    return setting


def _record(fields: dict[str, Any], setting: Setting, place: str) -> Record:
    common = {"dataset": setting.dataset, "norm": setting.norm, "eps": setting.eps, "eps_text": setting.eps_text}
    repeated = sorted(common.keys() & fields.keys())
    if repeated:
        raise InvalidInput(f"{place}: {', '.join(repeated)} belong in the head of the file")
    try:
        return msgspec.convert(common | fields, Record)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{place}: {error}") from None


def add(record: Record, folder: Path = FOLDER) -> Path:
    """Write a record into the file of its setting, which is made if it is the first; returns the file.

    Raises `InvalidInput`, with every reason in one line, for a record that `checks.problems` refuses.
    """
    from .checks import known_attacks, problems

    found = problems(record, load(folder), known_attacks())
    if found:
        raise InvalidInput("the record is refused: " + "; ".join(found))
    setting = setting_of(record)
    path = folder / f"{setting.slug}.toml"
    head, blocks = _blocks(path, setting)
    position = next((i for i, block in enumerate(blocks) if _accuracy(block) < record.certified_accuracy), len(blocks))
    blocks.insert(position, _text(record))
    content = "\n\n".join([head, *blocks]) + "\n"
    partial = path.with_suffix(".tmp")
    try:
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from None
    return path


def _blocks(path: Path, setting: Setting) -> tuple[str, list[str]]:
    """The head of a file and its records, as text (comments stay with what follows the marker before them)."""
    if not path.exists():
        head = (f"{name} = {_quoted(value)}" for name, value in zip(_HEAD, _values(setting), strict=True))
        return "\n".join(head), []
    head_text, *blocks = re.split(rf"^(?={re.escape(_BLOCK)})", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return head_text.strip(), [block.strip() for block in blocks]


def _values(setting: Setting) -> tuple[str, str, str]:
    return setting.dataset, setting.norm, setting.eps_text


def _accuracy(block: str) -> float:
    return float(tomllib.loads(block)["record"][0]["certified_accuracy"])


def _text(record: Record) -> str:
    fields = msgspec.to_builtins(record)  # without the fields that have their default value
    return "\n".join([_BLOCK, *(f"{name} = {_quoted(fields[name])}" for name in _FIELDS if name in fields)])


def _quoted(value: str | float | bool) -> str:
    """A TOML value; JSON's texts, numbers and truth values are also TOML's."""
    return json.dumps(value, ensure_ascii=False)
