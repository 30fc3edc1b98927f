"""Options and helpers that several verbs share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Directory of recorded runs.",
)


def examples(*lines: str) -> Callable[[Any], Any]:
    """Append an Examples section to a command's help."""

    def add(function: Any) -> Any:
        block = "\n".join(f"  {line}" for line in lines)
        function.__doc__ = f"{function.__doc__}\n\n\b\nExamples:\n{block}\n"
        return function

    return add


def print_json(value: Any) -> None:
    """Write a value as indented JSON; infinities become null, which JSON has no word for."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
