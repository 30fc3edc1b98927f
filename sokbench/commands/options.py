"""Options and helpers that several verbs share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.errors import InvalidInput

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Directory of recorded runs.",
)

parameters_option = click.option(
    "--set", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the method; may be repeated."
)


def data_options(function: Any) -> Any:
    """--data, --index and --seed: which input, and the seed of whatever is random."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of whatever the method draws."),
        click.option("--index", required=True, type=click.IntRange(min=0), help="Of the input in the test split."),
        click.option("--data", required=True, help="A data set (sokbench list --kind dataset)."),
    ):
        function = option(function)
    return function


def parse_parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """("restarts=5", "solver=highs") as a dictionary; values are numbers or true/false where they look like it."""
    parsed: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set {text!r}: write NAME=VALUE, such as --set restarts=5")
        try:
            parsed[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            parsed[name] = value
    return parsed


def examples(*lines: str) -> Callable[[Any], Any]:
    """Append an Examples section to a command's help."""

    def add(function: Any) -> Any:
        block = "\n".join(f"  {line}" for line in lines)
        function.__doc__ = f"{inspect.cleandoc(function.__doc__)}\n\n\b\nExamples:\n{block}\n"
        return function

    return add


def print_json(value: Any) -> None:
    """Write a value as indented JSON; infinities become null, which JSON has no word for."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
