"""`sokbench verify MODEL`: one input, one method, now. `sokbench verify NETWORK SPEC`: a property in VNN-LIB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.errors import InvalidInput
from ..measured.names import rounded_down
from ..rows import Row
from .options import examples, json_option, parameters_option, parse_parameters, print_json
from .verify_property import verify_property


@click.command("verify")
@click.argument("model")
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("--data", help="A data set (sokbench list --kind dataset).")
@click.option("--index", type=click.IntRange(min=0), help="Of the input in the test split.")
@click.option("--seed", default=0, show_default=True, help="Of whatever the method draws.")
@click.option("--method", help="A verifier or attack (sokbench list), or a .py file with one.")
@click.option("--radius", help="Of the ball, a number or a fraction such as 8/255; without it the radius is searched.")
@click.option("--norm", default="linf", show_default=True, type=click.Choice(["linf", "l2", "l1", "l0"]))
@click.option("--no-box", is_flag=True, help="Do not cut the ball with the box [0, 1].")
@click.option("--limit", default=60.0, show_default=True, help="Seconds.")
@click.option("--memory", default="8 GiB", show_default=True, help="Of the whole process tree.")
@click.option("--result", type=click.Path(path_type=Path), help="With SPEC: write the answer as VNN-COMP wants it.")
@click.option("--proof", type=click.Path(path_type=Path), help="With SPEC: write a proof, for sokbench check-proof.")
@parameters_option
@json_option
@examples(
    "sokbench verify net.onnx property.vnnlib --limit 60",
    "sokbench verify net.onnx.gz property.vnnlib.gz --method crown --json",
    "sokbench verify net.onnx property.vnnlib --method beta_crown --proof proof.zip",
    "sokbench verify mnist5k/cnn_a/cadv --data mnist5k --index 0 --method crown --radius 0.1",
    "sokbench verify model.onnx --data cifar10 --index 7 --method pgd --radius 2/255 --set restarts=5",
    "sokbench verify mnist5k/fcnn_a/adv --data mnist5k --index 3 --method crown --norm l2 --json",
)
def command(
    model: str, spec: Path | None, method: str | None, radius: str | None, as_json: bool, result: Path | None,
    proof: Path | None, **options: Any,
) -> int:  # fmt: skip
    """Verify one input of MODEL: a zoo name, an .onnx file, or package.module:name of a torch module.

    With SPEC, a .vnnlib file: does the property hold for the network? The answer is holds, violated (with a witness,
    judged in float64 and by onnxruntime), timeout or unknown.

    Exit code 0 if the method answered, 1 if it crashed or ran out of time or memory.
    """
    if spec is not None:
        return verify_property(
            Path(model), spec, method, parse_parameters(options["parameters"]), options["limit"], options["memory"],
            options["seed"], as_json, result, proof,
        )  # fmt: skip
    if result is not None or proof is not None:
        raise InvalidInput("--result and --proof are for a property: give a .vnnlib file")
    for name, value in (("--method", method), ("--data", options["data"]), ("--index", options["index"])):
        if value is None:
            raise InvalidInput(f"{name} is missing: give an input by --data and --index, or a .vnnlib file")
    from ..runner.single import answer
    from ..suites.schema import Block, Limits, SuiteFile

    named = {"method": method, **parse_parameters(options["parameters"])}
    block = Block(methods=(named,), radii=(radius,) if radius else None)
    file = SuiteFile(
        name="verify",
        title="",
        dataset=options["data"],
        subset=f"indices:{options['index']}",
        models=(model,),
        norm=options["norm"],
        box=() if options["no_box"] else (0.0, 1.0),
        limits=Limits(wall=options["limit"], memory=options["memory"]),
        seed=options["seed"],
        verify=(block,) if radius else (),
        radius=() if radius else (block,),
    )
    (row,) = answer(file, Path.cwd())
    if as_json:
        print_json(msgspec.to_builtins(row))
    else:
        show(row)
    return 0 if row.termination in ("ok", "unsupported") else 1


def show(row: Row) -> None:
    """What a person wants to know of one answer."""
    question = f"{row.model} on input {row.index} of {row.dataset} (label {row.label})"
    ball = f"{row.norm} radius {row.radius:g}" if row.radius is not None else row.norm
    click.echo(f"{row.method}: {question}, {ball}")
    if row.task == "verify":
        click.echo(f"  verdict      {row.verdict}")
    facts = {
        "ended": row.termination if row.termination != "ok" else None,
        "reason": row.stats.get("reason"),
        "margin": _below(row.margin),
        "certified": _below(row.certified_radius),
        "prediction": "abstains" if row.prediction == -1 else row.prediction,
        "p": _below(row.p),
        "witness": "found, and judged again in float64; --json has it" if row.witness else None,
        "seconds": round(row.seconds, 4),
        "preparation": f"{row.prepare_seconds:.2f} s",
    }
    for name, value in facts.items():
        if value is not None:
            click.echo(f"  {name:<12} {value:.6g}" if isinstance(value, float) else f"  {name:<12} {value}")
    if row.log:
        click.echo("  log\n" + "\n".join(f"    {line}" for line in row.log.splitlines()))


def _below(bound: float | None) -> str | None:
    return None if bound is None else rounded_down(bound)
