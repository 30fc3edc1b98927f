"""`sokbench import-log FILE`: somebody's certification log becomes published rows."""

from __future__ import annotations

from pathlib import Path

import click

from .options import examples, parse_parameters


@click.command("import-log")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", required=True, help="What to file it under, such as cohen2019-resnet110-025.")
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--norm", default="l2", show_default=True, type=click.Choice(["linf", "l2", "l1", "l0"]))
@click.option("--model", required=True, help="As the paper says, such as ResNet-110.")
@click.option("--training", required=True, help="As the paper says, such as Data Augmentation.")
@click.option("--certifier", default="neyman_pearson", show_default=True, help="See sokbench list --kind certifier.")
@click.option("--noise", default="gaussian", show_default=True, help="Kind of noise.")
@click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="Of the noise, such as sigma=0.25.")
@click.option("--n", default=0, help="Samples, if the authors say; radii beyond what they can certify are pointed out.")
@click.option("--alpha", default=0.0, help="1 - confidence, if the authors say.")
@click.option("--source", required=True, help="Where the log was found: address, commit, file.")
@click.option("--notes", default="")
@examples(
    "sokbench import-log sigma_0.25 --name cohen2019-025 --model ResNet-110 --training 'Data Augmentation' \\",
    "    --set sigma=0.25 --n 100000 --alpha 0.001 --source 'github.com/locuslab/smoothing, data/certify/cifar10'",
)
def command(
    file: Path,
    name: str,
    dataset: str,
    norm: str,
    model: str,
    training: str,
    certifier: str,
    noise: str,
    parameters: tuple[str, ...],
    n: int,
    alpha: float,
    source: str,
    notes: str,
) -> None:
    """File a certification log (idx label predict radius correct time, separated by tabs) as published rows.

    They stand in Table IV (`sokbench tables sok-table4`) in rows of their own, marked as published.
    """
    from .. import published_logs

    about = published_logs.About(
        dataset=dataset,
        norm=norm,
        model=model,
        training=training,
        certifier=certifier,
        noise={"kind": noise, **parse_parameters(parameters)},
        source=source,
        n=n,
        alpha=alpha,
        notes=notes,
    )
    log = published_logs.store(file, name, about)
    accuracy = log.certified(0.0)
    click.echo(f"{len(log.lines)} images filed as {name}; {100 * accuracy.value:.1f}% are classified correctly")
    if log.about.notes != notes:
        click.echo(f"note: {log.about.notes}")
