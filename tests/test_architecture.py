"""The floors of the house: an import never goes up, and the harness names no method."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sokbench", "verifiers", "randomized_smoothing", "models")
HEAVY = {"torch", "cvxpy", "highspy", "scipy", "pandas", "matplotlib", "gurobipy", "onnx", "pyarrow", "sklearn"}

# what a folder may import statically besides itself; the longest matching prefix counts
ALLOWED = {
    "sokbench.core": (),
    "sokbench": ("sokbench",),
    "verifiers.graph": ("sokbench.core",),
    "verifiers.bounds": ("sokbench.core", "verifiers.graph"),
    "verifiers": ("sokbench.core", "verifiers"),
    "randomized_smoothing": ("sokbench.core",),
    "models": ("sokbench.core", "sokbench.data", "verifiers"),
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, nodes: list[ast.AST]) -> list[str]:
    parts = path.relative_to(ROOT).parts
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level] if node.level else ()
            module = ".".join((*base, *((node.module,) if node.module else ())))
            # `from package import module` imports the module
            found += [
                f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module for alias in node.names
            ]
    return found


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def floor_of(name: str) -> str:
    return max((prefix for prefix in ALLOWED if within(name, prefix)), key=len)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_an_import_never_goes_up(path: Path):
    floor = floor_of(module_name(path))
    allowed = (floor, *ALLOWED[floor])
    for name in imports(path, list(ast.walk(ast.parse(path.read_text())))):
        if name.split(".")[0] in PACKAGES:
            assert any(within(name, prefix) for prefix in allowed), f"{module_name(path)} imports {name}"


LIGHT = [path for path in SOURCES if within(module_name(path), "sokbench")]


def runs_at_import(tree: ast.Module) -> list[ast.AST]:
    """Top-level statements, those under `if TYPE_CHECKING:` aside."""
    nodes: list[ast.AST] = []
    for statement in tree.body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        nodes += [statement, *(ast.walk(statement) if isinstance(statement, (ast.If, ast.Try, ast.With)) else ())]
    return nodes


# these run only in workers, in the audit or in the contract tests, which need torch anyway
MAY_BE_HEAVY = ("sokbench.core.evaluation", "sokbench.runner.worker", "sokbench.runner.tasks", "sokbench.contract")


@pytest.mark.parametrize("path", LIGHT, ids=module_name)
def test_the_harness_loads_nothing_heavy(path: Path):
    name = module_name(path)
    if any(within(name, prefix) for prefix in MAY_BE_HEAVY):
        return
    heavy = {found.split(".")[0] for found in imports(path, runs_at_import(ast.parse(path.read_text())))} & HEAVY
    assert not heavy, f"{name} imports {heavy} when it is imported"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_stay_readable(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{module_name(path)} has {lines} lines; one idea a file"


def test_site_is_no_package():
    # `site` is a module of the standard library: a package of that name would break the interpreter
    assert not (ROOT / "site" / "__init__.py").exists()
