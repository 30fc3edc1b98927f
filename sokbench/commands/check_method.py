"""`sokbench check-method FILE`: the contract tests on a method of one's own, answered in words."""

from __future__ import annotations

from pathlib import Path

import click

from .options import examples, json_option, print_json


@click.command("check-method")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@examples("sokbench check-method my_verifier.py", "sokbench check-method verifiers/linear/crown.py --json")
def command(file: Path, as_json: bool) -> int:
    """Check the method defined in FILE: sound, deterministic, within its limits, honest about what it cannot do.

    Exit code 1 if any check fails.
    """
    from ..contract import check
    from ..core.registry import load_file

    report = check(load_file(file))
    if as_json:
        print_json(report)
    else:
        click.echo(report.text())
    return 0 if report.ok else 1
