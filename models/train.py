"""`python -m models.train`: train models from their recipes and file them, with cards, in the zoo."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sokbench.core.errors import InvalidInput

from . import cards
from .recipes import RECIPES, SHIPPED, recipe

EXAMPLES = """\b
Examples:
  python -m models.train --all                    what is shipped, if it is missing or its recipe changed
  python -m models.train --all --again            the same from the start
  python -m models.train mnist5k/cnn_a/cadv       one model
  python -m models.train mnist/cnn_b/adv1         a model of the SoK on the full MNIST (hours without a GPU)
  python -m models.train --list                   all recipes
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All models that come with the project.")
@click.option("--again", is_flag=True, help="Train even if the card says that the recipe has been followed.")
@click.option("--list", "listing", is_flag=True, help="Print the names of all recipes and stop.")
@click.option("--out", type=click.Path(path_type=Path), default=cards.WEIGHTS, help="Where weights and cards go.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("build/models"),
    show_default=True,
    help="Where checkpoints go; an interrupted training is resumed from here.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of PyTorch.")
def main(
    names: tuple[str, ...], everything: bool, again: bool, listing: bool, out: Path, work: Path, threads: int
) -> None:
    """Train the models NAME (dataset/architecture/training), measure them and write weights, card and curve.

    A checkpoint is written after every epoch. Stop with Ctrl-C; the same command goes on where it stopped.
    Results are the same to the bit on the same machine with the same number of threads.
    """
    if listing:
        click.echo("\n".join(RECIPES))
        return
    chosen = list(dict.fromkeys((*(SHIPPED if everything else ()), *names)))
    if not chosen:
        raise click.UsageError("name a model, or give --all; --list prints the names")
    try:
        for name in chosen:
            recipe(name)
        _train_all(chosen, out, work, threads, again)
    except InvalidInput as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command resumes from the last epoch", err=True)
        sys.exit(130)


def _train_all(names: list[str], out: Path, work: Path, threads: int, again: bool) -> None:
    import torch

    from .build import produce, up_to_date

    torch.set_num_threads(threads)
    for name in names:
        if not again and up_to_date(name, out):
            click.echo(f"{name}: up to date")
            continue
        click.echo(summary(produce(name, out, work)))


def summary(card: cards.Card) -> str:
    """One line: the name and every accuracy measured."""
    figures = ", ".join(f"{m.quantity} {100 * m.accuracy:.1f}%" for m in card.measurements)
    return f"{card.name}: {figures} ({card.seconds:.0f} s)"


if __name__ == "__main__":
    main()
