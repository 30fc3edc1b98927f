"""`sokbench leaderboard check|add`: the published records, which are data files reviewed like code."""

from __future__ import annotations

from typing import Any

import click

from ..published import Record
from .options import examples


@click.group("leaderboard")
def command() -> None:
    """Check the published records, or add one."""


@command.command("check")
@examples("sokbench leaderboard check")
def check() -> int:
    """Refuse records that are malformed, duplicate or above a known attack accuracy. Exit code 1 if any is."""
    from .. import leaderboard

    problems = leaderboard.check()
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if not problems:
        click.echo(f"{len(leaderboard.load())} records are well formed")
    return 1 if problems else 0


@command.command("add")
@click.option("--dataset", required=True, help="Such as CIFAR-10.")
@click.option("--norm", required=True, type=click.Choice(["linf", "l2", "l1", "l0"]))
@click.option("--eps", "eps_text", required=True, help="As printed, such as 8/255 or 0.1.")
@click.option("--certified", "certified_accuracy", required=True, type=float, help="Certified accuracy, percent.")
@click.option("--clean", "clean_accuracy", type=float, help="Clean accuracy, percent.")
@click.option("--attack", "attack_accuracy", type=float, help="Accuracy under the strongest known attack, percent.")
@click.option("--probabilistic/--deterministic", required=True, help="Whether the guarantee has a confidence.")
@click.option("--title", required=True, help="Title of the paper.")
@click.option("--method", default="", help="Short name of the approach.")
@click.option("--training", default="", help="How the model was trained.")
@click.option("--verification", default="", help="How it was certified.")
@click.option("--venue", default="", help="Such as ICLR 2026; empty for a preprint.")
@click.option("--year", type=int)
@click.option("--url", default="", help="Where to read it.")
@click.option("--source", required=True, help="Table or page the number stands in.")
@examples(
    "sokbench leaderboard add --dataset CIFAR-10 --norm linf --eps 8/255 --certified 35.4 --clean 53.4 \\",
    "    --deterministic --title 'My paper' --method Mine --venue 'ICLR 2026' --year 2026 \\",
    "    --url https://example.org/paper --source 'Table 2'",
)
def add(eps_text: str, **fields: Any) -> None:
    """Add one record to the file of its setting, sorted, after the same checks as `leaderboard check`."""
    from fractions import Fraction

    from .. import leaderboard
    from ..core.errors import InvalidInput

    try:
        eps = float(Fraction(eps_text))
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"--eps must be a number or a fraction such as 8/255, not {eps_text!r}") from None
    path = leaderboard.add(Record(eps=eps, eps_text=eps_text, **fields))
    click.echo(f"added to {path}")
