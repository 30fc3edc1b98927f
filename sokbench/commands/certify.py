"""`sokbench certify MODEL`: one input of a smoothed network, one certifier, now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from .options import data_options, examples, json_option, parameters_option, parse_parameters, print_json
from .verify import show


@click.command("certify")
@click.argument("model")
@data_options
@click.option("--certifier", default="neyman_pearson", show_default=True, help="See sokbench list --kind certifier.")
@click.option("--noise", default="gaussian", show_default=True, help="Kind of noise.")
@click.option("--sigma", default=0.5, show_default=True, help="Standard deviation of Gaussian noise, in input units.")
@click.option(
    "--noise-set", multiple=True, metavar="NAME=VALUE", help="Of other noises, instead of --sigma: scale=0.2."
)
@click.option("--n0", default=100, show_default=True, help="Samples that select the class.")
@click.option("--n", default=10_000, show_default=True, help="Samples that bound its probability.")
@click.option("--alpha", default=0.001, show_default=True, help="The certificate may be wrong with this probability.")
@click.option("--statistics", is_flag=True, help="Sum up what first_order and lipschitz_soft work from, too.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the base classifier: bfloat16 rounds its weights and inputs, which makes it another one.",
)
@click.option("--limit", default=60.0, show_default=True, help="Seconds.")
@parameters_option
@json_option
@examples(
    "sokbench certify mnist5k/cnn_a/gaussian050 --data mnist5k --index 0 --sigma 0.5",
    "sokbench certify mnist5k/cnn_a/gaussian025 --data mnist5k --index 3 --sigma 0.25 --n 100000 --json",
    "sokbench certify mnist5k/cnn_a/gaussian025 --data mnist5k --index 3 --noise laplace --noise-set scale=0.18 \\",
    "    --certifier neyman_pearson_laplace",
)
def command(model: str, certifier: str, as_json: bool, **options: Any) -> int:
    """Certify one input of MODEL smoothed by noise, with confidence 1 - alpha."""
    from ..runner.single import answer
    from ..suites.schema import CertifyBlock, Limits, SuiteFile

    block = CertifyBlock(
        certifiers=({"method": certifier, **parse_parameters(options["parameters"])},),
        noise={"kind": options["noise"], **(parse_parameters(options["noise_set"]) or {"sigma": options["sigma"]})},
        n0=options["n0"],
        n=options["n"],
        alpha=options["alpha"],
        statistics=options["statistics"],
        precision=options["precision"],
    )
    file = SuiteFile(
        name="certify",
        title="",
        dataset=options["data"],
        subset=f"indices:{options['index']}",
        models=(model,),
        limits=Limits(wall=options["limit"]),
        seed=options["seed"],
        certify=(block,),
    )
    row = next(row for row in answer(file, Path.cwd()) if row.task == "certify")
    if as_json:
        print_json(msgspec.to_builtins(row))
    else:
        show(row)
    return 0 if row.termination in ("ok", "unsupported") else 1
