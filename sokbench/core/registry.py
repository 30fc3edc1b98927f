"""Finds methods by scanning folders, and builds them by name.

A method's `MethodInfo` is written with literals, so listing reads source files and imports nothing: `sokbench list`
answers without loading torch or a solver. The harness reaches verifiers, certifiers and models only through here.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .certifier import Certifier
from .errors import InvalidInput, UnknownName
from .method import Kind, Method, MethodInfo

ROOT = Path(__file__).resolve().parents[2]
METHOD_FOLDERS = ("verifiers", "randomized_smoothing")
ENTRY_POINTS = "sokbench.methods"


@dataclass(frozen=True)
class Entry:
    """One method as the registry knows it: its info, and where its class is (`module` is a file for local methods)."""

    info: MethodInfo
    module: str
    class_name: str
    path: Path | None

    def load(self) -> type[Any]:
        """Import the method's module and return its class."""
        return cast(type[Any], getattr(importlib.import_module(self.module), self.class_name))


def catalog(kind: Kind | None = None) -> dict[str, Entry]:
    """All methods by slug, of one kind if asked, sorted."""
    return {slug: entry for slug, entry in _scan().items() if kind in (None, entry.info.kind)}


def method(slug: str, **parameters: Any) -> Method:
    """Build a verifier or an attack. Raises `UnknownName`, and `InvalidInput` for parameters it does not have."""
    return cast(Method, build(slug, ("verifier", "attack"), parameters))


def certifier(slug: str, **parameters: Any) -> Certifier:
    """Build a smoothing certifier. Raises as `method` does."""
    return cast(Certifier, build(slug, ("certifier",), parameters))


def build(slug: str, kinds: tuple[Kind, ...], parameters: dict[str, Any]) -> Method | Certifier:
    """Build a method of one of `kinds` by slug, with keyword parameters."""
    entries = {name: entry for name, entry in _scan().items() if entry.info.kind in kinds}
    if slug not in entries:
        raise UnknownName("certifier" if kinds == ("certifier",) else "method", slug, entries)
    return instance(entries[slug], parameters)


def instance(entry: Entry, parameters: dict[str, Any]) -> Method | Certifier:
    """A method object of `entry`, which is imported. Raises `UnknownName` for parameters it does not have."""
    cls = entry.load()
    allowed = inspect.signature(cls).parameters
    for name in parameters:
        if name not in allowed:
            raise UnknownName(f"parameter of {entry.info.slug}", name, allowed)
    return cast("Method | Certifier", cls(**parameters))


def component(module: str) -> ModuleType:
    """Import a part of the project that the harness may not import statically, such as `models.zoo`."""
    return importlib.import_module(module)


def file_entry(path: Path) -> Entry:
    """The method defined in a file outside the project, read without importing it.

    Raises `InvalidInput` if there is not exactly one.
    """
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    found = list(_infos_in(path))
    if len(found) != 1:
        raise InvalidInput(f"{path} must define exactly one class with `info = MethodInfo(...)`, found {len(found)}")
    class_name, info = found[0]
    return Entry(info, f"sokbench_user_{path.stem}", class_name, path)


def load_file(path: Path) -> Entry:
    """Import a method's file from outside the project. Raises `InvalidInput` as `file_entry` does."""
    entry = file_entry(path)
    spec = importlib.util.spec_from_file_location(entry.module, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[entry.module] = loaded
    spec.loader.exec_module(loaded)
    return entry


@cache
def _scan() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for found in (*_local_entries(), *_installed_entries()):
        if found.info.slug in entries:
            raise InvalidInput(
                f"two methods are named {found.info.slug!r}: {entries[found.info.slug].module} and "
                f"{found.module}; rename one"
            )
        entries[found.info.slug] = found
    return dict(sorted(entries.items()))


def _local_entries() -> Iterator[Entry]:
    for folder in METHOD_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for class_name, info in _infos_in(path):
                if info.slug != path.stem:
                    raise InvalidInput(f"{path.name}: the slug {info.slug!r} must equal the file's name")
                yield Entry(info, module, class_name, path)


def _installed_entries() -> Iterator[Entry]:
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        cls = point.load()
        yield Entry(cls.info, point.module, cls.__qualname__, None)


def _infos_in(path: Path) -> Iterator[tuple[str, MethodInfo]]:
    """(class name, info) of every class in a source file that has an `info = MethodInfo(...)`."""
    source = path.read_text(encoding="utf-8")
    if "MethodInfo(" not in source:
        return
    for node in ast.parse(source, str(path)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for statement in node.body:
            call = _info_call(statement)
            if call is not None:
                yield node.name, _literal_info(call, path)


def _info_call(statement: ast.stmt) -> ast.Call | None:
    if isinstance(statement, ast.Assign):
        targets: list[ast.expr] = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    named_info = any(isinstance(target, ast.Name) and target.id == "info" for target in targets)
    value = statement.value
    if named_info and isinstance(value, ast.Call) and getattr(value.func, "id", "") == "MethodInfo":
        return value
    return None


def _literal_info(call: ast.Call, path: Path) -> MethodInfo:
    try:
        fields = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        return cast(Callable[..., MethodInfo], MethodInfo)(**fields)
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"{path}, line {call.lineno}: MethodInfo takes literal keyword arguments only ({error})"
        ) from None
