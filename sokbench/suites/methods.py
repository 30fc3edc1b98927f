"""Methods as a suite writes them, checked without importing them: the planner stays free of torch and solvers."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput, UnknownName
from ..core.fingerprint import fingerprint
from ..core.method import Kind, MethodInfo
from ..core.registry import ROOT, Entry, catalog, file_entry
from .schema import MethodName
from .series import SAMPLING


@dataclass(frozen=True)
class Chosen:
    """A method with its parameters. source: its file if it is from outside the project, else ""."""

    entry: Entry
    parameters: dict[str, Any]
    source: str

    @property
    def version(self) -> str:
        """Of its code; reads all files it imports, so only what is recorded asks for it."""
        return fingerprint(self.entry)

    @property
    def slug(self) -> str:
        return self.entry.info.slug


def choose(written: MethodName, kinds: tuple[Kind, ...], base: Path) -> Chosen:
    """The method a suite names. Raises `UnknownName` for names and parameters, `InvalidInput` for bad files."""
    if isinstance(written, str):
        name, parameters = written, {}
    else:
        parameters = dict(written)
        name = parameters.pop("method", None)
        if not isinstance(name, str):
            raise InvalidInput(f'a method table needs the method\'s name, as in {{method = "pgd"}}, not {written}')
    entry, source = _find(name, kinds, base)
    known = parameter_names(entry)
    for parameter in parameters:
        if known is not None and parameter not in known:
            raise UnknownName(f"parameter of {entry.info.slug}", parameter, known)
    return Chosen(entry, parameters, source)


def _find(name: str, kinds: tuple[Kind, ...], base: Path) -> tuple[Entry, str]:
    listed = {slug: entry for slug, entry in catalog().items() if entry.info.kind in kinds}
    if not name.endswith(".py"):
        if name not in listed:
            raise UnknownName("certifier" if kinds == ("certifier",) else "method", name, listed)
        return listed[name], ""
    path = resolve(name, base)
    entry = file_entry(path)
    if entry.info.kind not in kinds:
        raise InvalidInput(f"{name} is a {entry.info.kind}; here stands a {' or '.join(kinds)}")
    if entry.info.slug in catalog():
        raise InvalidInput(f"{name}: sokbench has a method {entry.info.slug!r} already; give yours another slug")
    return entry, str(path)


def resolve(written: str, base: Path) -> Path:
    """A path written in a suite: relative to the suite's folder, or else to the working directory."""
    beside = base / written
    return beside if beside.is_file() else Path(written).resolve()


def parameter_names(entry: Entry) -> list[str] | None:
    """Names the method's class takes, read from its source; None if the source is not here (an installed plugin)."""
    if entry.path is None:
        return None
    for node in ast.parse(entry.path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == entry.class_name:
            return _constructor_names(node)
    raise InvalidInput(f"{entry.path.name} has no class {entry.class_name}")


def _constructor_names(node: ast.ClassDef) -> list[str]:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            arguments = statement.args
            return [argument.arg for argument in (*arguments.args[1:], *arguments.kwonlyargs)]
    # a dataclass: its annotated fields, ClassVars aside
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    return [ast.unparse(item.target) for item in fields if "ClassVar" not in ast.unparse(item.annotation)]


def sampling_version(stopping: Sequence[Chosen] = ()) -> str:
    """The version of the code that draws the noise and counts the classes; stopping: certifiers whose radii say when
    that is enough."""
    if not stopping:
        return _version_of("sampling_pass")
    versions = " ".join([_version_of("sampling_pass"), _version_of("stopping"), *(one.version for one in stopping)])
    return hashlib.sha256(versions.encode()).hexdigest()[:16]


@cache
def _version_of(module: str) -> str:
    info = MethodInfo(SAMPLING, "sampling pass", "certifier", "randomized smoothing", (), "", "")
    path = ROOT / "randomized_smoothing" / f"{module}.py"
    return fingerprint(Entry(info, f"randomized_smoothing.{module}", "", path))
