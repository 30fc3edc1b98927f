"""The version of a method: a hash of all code of this project that can change its answer.

A row whose method's fingerprint differs from today's is shown as stale. Comments, docstrings and layout do not
count: the hash is taken over syntax trees.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from .registry import ROOT, Entry

_PACKAGES = ("sokbench", "verifiers", "randomized_smoothing")


def fingerprint(entry: Entry) -> str:
    """16 hex digits over the method's file and every project file it imports, however far down."""
    if entry.path is None:
        package = entry.module.partition(".")[0]
        names = importlib.metadata.packages_distributions().get(package, [])
        versions = ",".join(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))
        return hashlib.sha256(f"{entry.module}:{entry.class_name}:{versions}".encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    for path in sorted(_reachable(entry.path)):
        digest.update(_normal_form(path))
    return digest.hexdigest()[:16]


def _reachable(start: Path) -> set[Path]:
    seen: set[Path] = set()
    queue = [start]
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            queue.extend(_imports(path))
    return seen


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Project files that `path` imports, at any depth of nesting."""
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else (path.name,)
    found: list[Path] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            names = [".".join(module), *(".".join((*module, alias.name)) for alias in node.names)]
        else:
            continue
        found.extend(target for name in names if (target := _file_of(name)) is not None)
    return tuple(found)


def _file_of(name: str) -> Path | None:
    if name.split(".")[0] not in _PACKAGES:
        return None
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _normal_form(path: Path) -> bytes:
    tree = _tree(path)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value = ast.Constant("")
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return f"{name}\n{ast.dump(tree)}\n".encode()
