"""What makes a record unacceptable. Each problem is one line; continuous integration refuses a record that has any."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ..core.errors import InvalidInput
from ..core.registry import ROOT
from ..published import Record
from .files import FOLDER, load_with_places, parse_eps, setting_of

ATTACKS: Final = ROOT / "results" / "published" / "attacks.toml"
"""Accuracies under attack that were published or measured for models that may appear on the leaderboard."""

_FIRST_YEAR = 2013  # adversarial examples: Szegedy et al. 2013


class AttackResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The accuracy (percent of all test inputs) of one model under one attack: an upper bound of what can be certified.

    The model is named by whatever is known of it; empty fields are not compared.
    """

    dataset: str
    norm: str
    eps: str
    attack: str
    accuracy: float
    source: str
    title: str = ""
    method: str = ""
    model: str = ""
    training: str = ""


def check(folder: Path = FOLDER) -> list[str]:
    """Everything that is wrong with the files in `folder`, one line each; empty if all is well."""
    try:
        entries = list(load_with_places(folder))
        attacks = known_attacks()
    except InvalidInput as error:
        return [str(error)]
    found = []
    for position, (place, record) in enumerate(entries):
        others = [other for _, other in entries[:position]]
        found += [f"{place} ({record.title[:40]}): {problem}" for problem in problems(record, others, attacks)]
    return found


def problems(record: Record, others: Sequence[Record], attacks: Sequence[AttackResult]) -> list[str]:
    """Why `record` may not stand beside `others`, given what `attacks` reach; in words, empty if it may."""
    return [*_malformed(record), *_duplicates(record, others), *_implausible(record, others, attacks)]


def _malformed(record: Record) -> Iterator[str]:
    for name in ("dataset", "title"):
        if not getattr(record, name).strip():
            yield f"{name} is empty"
    for name in ("certified_accuracy", "clean_accuracy", "attack_accuracy"):
        value = getattr(record, name)
        if value is not None and not (math.isfinite(value) and 0 <= value <= 100):
            yield f"{name} = {value} is not a percentage"
    try:
        if not math.isclose(parse_eps(record.eps_text), record.eps, rel_tol=1e-6):
            yield f"eps = {record.eps} is not what eps_text = {record.eps_text!r} says"
    except InvalidInput as error:
        yield str(error)
    if record.date and not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", record.date):
        yield f"date = {record.date!r} is not a month such as 2024-06"
    if record.year is not None and not _FIRST_YEAR <= record.year <= 2100:
        yield f"year = {record.year} is out of range"
    if record.url and not _is_url(record.url):
        yield f"url = {record.url!r} is not a web address"
    if not (record.source or record.url):
        yield "neither source nor url says where the number stands"
    if any(
        character in "\r\n" for name in ("title", "method", "notes", "venue") for character in getattr(record, name)
    ):
        yield "texts must be single lines"
    if (record.origin == "measured") != bool(record.run):
        yield "a measured record names its run, and only a measured one does"


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and "." in parts.netloc and not re.search(r"\s", text)


def _duplicates(record: Record, others: Sequence[Record]) -> Iterator[str]:
    for other in others:
        if setting_of(other) != setting_of(record) or other.origin != record.origin:
            continue
        unnamed = not (other.method and record.method) and other.certified_accuracy == record.certified_accuracy
        if _same_model(record, other) or (_same_paper(record, other) and unnamed):
            yield f"the same entry is there already, with {other.certified_accuracy} %; give another method or model"


def _same_paper(a: Record, b: Record) -> bool:
    return _plain(a.title) == _plain(b.title) or (a.url == b.url != "")


def _same_model(a: Record, b: Record) -> bool:
    same = all(_plain(getattr(a, name)) == _plain(getattr(b, name)) for name in ("method", "model", "training"))
    return same and _same_paper(a, b)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _implausible(record: Record, others: Sequence[Record], attacks: Sequence[AttackResult]) -> Iterator[str]:
    certified = record.certified_accuracy
    if record.clean_accuracy is not None and certified > record.clean_accuracy:
        yield f"certified accuracy {certified} % is above its own clean accuracy {record.clean_accuracy} %"
    attacked = record.attack_accuracy
    if attacked is not None and record.clean_accuracy is not None and attacked > record.clean_accuracy:
        yield f"attack accuracy {attacked} % is above clean accuracy {record.clean_accuracy} %"
    for accuracy, said in _known(record, others, attacks):
        if certified > accuracy:
            yield f"certified accuracy {certified} % is above the accuracy under attack, {accuracy} % ({said})"


def _known(record: Record, others: Sequence[Record], attacks: Sequence[AttackResult]) -> Iterator[tuple[float, str]]:
    """Accuracies under attack of the same model; an attack within a smaller radius is one within a larger radius."""
    if record.attack_accuracy is not None:
        yield record.attack_accuracy, "given with the record"
    for other in others:
        same = (other.dataset, other.norm) == (record.dataset, record.norm) and _same_model(record, other)
        if same and other.attack_accuracy is not None and other.eps <= record.eps:
            yield other.attack_accuracy, f"record for eps {other.eps_text}"
    for found in attacks:
        if _is_of(found, record):
            yield found.accuracy, f"{found.attack} at eps {found.eps}, {found.source}"


def _is_of(found: AttackResult, record: Record) -> bool:
    if (found.dataset, found.norm) != (record.dataset, record.norm) or parse_eps(found.eps) > record.eps * (1 + 1e-9):
        return False
    named = [name for name in ("title", "method", "model", "training") if getattr(found, name)]
    return all(_plain(getattr(found, name)) == _plain(getattr(record, name)) for name in named)


def known_attacks(path: Path = ATTACKS) -> list[AttackResult]:
    """The attack results in a file of [[attack]] tables. Raises `InvalidInput` for a malformed file."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("attack", [])
        found = msgspec.convert(tables, list[AttackResult])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path.name}: {error}") from None
    for result in found:
        parse_eps(result.eps)
        if not (result.title or result.model):
            raise InvalidInput(f"{path.name}: an attack on {result.dataset} names neither title nor model")
    return found
