"""Instances as VNN-COMP lists them: lines "network.onnx,property.vnnlib,seconds" in a file instances.csv."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..core.errors import InvalidInput
from ..core.fingerprint import fingerprint
from ..core.method import MethodInfo
from ..core.registry import ROOT, Entry
from ..known import known
from .methods import Chosen
from .series import Batch, Series


@dataclass(frozen=True)
class Instance:
    """One question. category: the folder of its instances.csv; index: its line there, from 0; network, spec: paths
    relative to the suite, which rows are filed under; expected: "holds tools_agree" or "" where nothing is known."""

    category: str
    index: int
    network: str
    network_path: Path
    network_sha256: str
    spec: str
    spec_path: Path
    spec_sha256: str
    seconds: float
    expected: str


def read_instances(files: Sequence[str], expected: str | None, base: Path) -> list[Instance]:
    """All instances of some files; relative names start at `base`, or else at the working directory.

    files: instances.csv files, or folders of categories with one each; an expected.csv in such a folder is used where
        `expected` is None
    Raises `InvalidInput`, naming file and line, for a line that is none and for files that are missing; and for two
    files of one category.
    """
    found: list[Instance] = []
    categories: dict[str, Path] = {}
    answers = {} if expected is None else _read_expected(_existing(expected, base))
    for path in [path for name in files for path in _listed(name, base)]:
        beside = path.parent.parent / "expected.csv"
        if expected is None and beside.is_file():
            answers |= _read_expected(beside)
        category = path.parent.name
        if categories.setdefault(category, path) != path:
            raise InvalidInput(f"{path}: the category {category!r} is also that of {categories[category]}")
        found += _of_category(path, category, answers, base)
    return found


def _of_category(path: Path, category: str, answers: dict[tuple[str, str], str], base: Path) -> Iterator[Instance]:
    with path.open(newline="", encoding="utf-8") as lines:
        for number, fields in enumerate(line for line in csv.reader(lines) if line):
            where = f"{path.parent.name}/{path.name}, instance {number}"
            if len(fields) != 3:
                raise InvalidInput(f"{where}: expected network,property,seconds and found {len(fields)} fields")
            network, spec = (_beside(path.parent / field.strip(), where) for field in fields[:2])
            expected = answers.get((network.name, spec.name), "")
            yield instance_of(network, spec, _seconds(fields[2], where), base, category, number, expected)


def instance_of(
    network: Path, spec: Path, seconds: float, base: Path, category: str = "", index: int = 0, expected: str = ""
) -> Instance:
    """The question about two files that are there."""
    hashes = file_sha256(network), file_sha256(spec)
    names = (Path(os.path.relpath(path, base.resolve())).as_posix() for path in (network, spec))
    return Instance(category, index, next(names), network, hashes[0], next(names), spec, hashes[1], seconds, expected)


def property_batch(
    instance: Instance, method: Chosen, version: str, limit: float, prepare_limit: float, memory: int, seed: int
) -> Batch:
    """The job of answering an instance with a method. limit, prepare_limit: seconds; memory: bytes; version: of all
    code that can change the answer."""
    series = Series(
        task="property",
        dataset=instance.category,
        data_sha256=instance.spec_sha256,
        input_shape=(),
        model=instance.network,
        model_source=str(instance.network_path),
        model_sha256=instance.network_sha256,
        method=method.slug,
        method_source=method.source,
        method_version=version,
        parameters=method.parameters,
        norm="",
        spec=instance.spec,
        spec_source=str(instance.spec_path),
        expected=instance.expected,
        limit=limit,
        prepare_limit=prepare_limit,
        memory=memory,
        seed=seed,
    )
    return Batch(series, (instance.index,), (0,))


def _listed(name: str, base: Path) -> list[Path]:
    """The file of that name, or in the folder of that name the files of its categories."""
    folder = next((each for each in (base / name, Path(name)) if each.is_dir()), None)
    if folder is None:
        return [_existing(name, base)]
    found = sorted(path.resolve() for path in folder.glob("*/instances.csv"))
    if not found:
        raise InvalidInput(f"{name} has no folders with a file instances.csv")
    return found


def _existing(name: str, base: Path) -> Path:
    path = next((each for each in (base / name, Path(name)) if each.is_file()), None)
    if path is None:
        raise InvalidInput(f"no such file: {name}")
    return path.resolve()


def _beside(path: Path, where: str) -> Path:
    """A file, or its compressed form: lists often name what is only there as .gz."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate.resolve()
    raise InvalidInput(f"{where}: no such file: {path.name}")


@cache
def file_sha256(path: Path) -> str:
    """Of a file that does not change while this program runs."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidInput(f"{where}: the time limit must be a positive number of seconds, not {text.strip()!r}")
    return seconds


def _read_expected(path: Path) -> dict[tuple[str, str], str]:
    """`Known` as text by (network file, property file); verdicts that are no answer (disputed, unsolved) too."""
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = {"net_path", "spec_path", "verdict", "basis"} - set(reader.fieldnames or ())
        if missing:
            raise InvalidInput(f"{path.name}: no column {', '.join(sorted(missing))}")
        return {
            (Path(line["net_path"]).name, Path(line["spec_path"]).name): str(
                known(f"{line['verdict']} {line['basis'] or '-'} {line.get('fastest_s') or ''}")
            )
            for line in reader
        }


@cache
def decision_version() -> str:
    """The version of the code between a method and a property; part of the version of every answer to one."""
    info = MethodInfo("decision", "", "verifier", "", (), "", "")
    parts = ("sokbench/decision.py", "sokbench/core/vnnlib.py", "verifiers/graph/rewriting/reduction.py")
    return "".join(fingerprint(Entry(info, "", "", ROOT / part))[:4] for part in parts)
