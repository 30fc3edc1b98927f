"""`sokbench info NAME`: everything that is known about one method, model, data set or suite."""

from __future__ import annotations

from typing import Any

import click

from ..core.errors import UnknownName
from .inventory import KINDS, name_of
from .options import examples, json_option, print_json


@click.command("info")
@click.argument("name")
@json_option
@examples("sokbench info crown", "sokbench info mnist5k/cnn_a/cadv", "sokbench info quick --json")
def command(name: str, as_json: bool) -> None:
    """Explain NAME: a method, model, data set or suite."""
    items = [{"kind": kind, **item} for kind, listed in KINDS.items() for item in listed()]
    found = [item for item in items if name_of(item) == name]
    if not found:
        raise UnknownName("method, model, data set or suite", name, [name_of(item) for item in items])
    if as_json:
        print_json(found[0])
        return
    for key, value in found[0].items():
        click.echo(f"{key.replace('_', ' '):>18}  {_text(value)}")
    if found[0]["kind"] in ("verifier", "attack", "certifier"):
        click.echo(_docstring(name))


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part) for part in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items()) or "-"
    return "-" if value in (None, "") else str(value)


def _docstring(slug: str) -> str:
    """The docstring of the method's file, which says what is relaxed and what it costs; read without importing."""
    import ast

    from ..core.registry import catalog

    path = catalog()[slug].path
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path else None
    return f"\n{text}" if text else ""
