"""`sokbench check-proof PROOF NETWORK [SPEC]`: does a recorded proof show what it claims?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ..core.errors import InvalidInput
from .options import examples, json_option, print_json


@click.command("check-proof")
@click.argument("proof", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("network")
@click.argument("spec", required=False, type=click.Path(path_type=Path, dir_okay=False))
@json_option
@examples(
    "sokbench verify net.onnx property.vnnlib --method beta_crown --proof proof.zip",
    "sokbench check-proof proof.zip net.onnx property.vnnlib",
    "sokbench check-proof proofs/3a5c9730d60b-bc7de94c9869.npz mnist5k/fcnn_a/cadv",
)
def command(proof: Path, network: str, spec: Path | None, as_json: bool) -> int:
    """Check the PROOF that a search wrote (verify with --proof) about NETWORK, or about the property SPEC of it.

    NETWORK is a zoo name or an .onnx file. The checker has its own arithmetic and trusts nothing in the file. A proof
    says that a label stays on top for all inputs of a box or l1 ball; a SPEC is accepted if each of the problems that
    it consists of is proved. Exit code 1 if the proof is refused.
    """
    from ..core.registry import component

    claims = component("verifiers.complete.proofs.claims")
    proofs = claims.read_proofs(proof)
    if spec is None and len(proofs) > 1:
        raise InvalidInput(f"{proof} holds {len(proofs)} proofs of a property: give its .vnnlib file as well")
    began = time.monotonic()
    try:
        claim, checked = _checked(claims, proofs, network, spec)
        answer: dict[str, Any] = {"answer": "accepted", "claim": claim, "margin": min(one.margin for one in checked)}
        answer |= {name: sum(getattr(one, name) for one in checked) for name in ("states", "leaves")}
    except claims.Refused as reason:
        answer = {"answer": "refused", "reason": str(reason)}
    answer["seconds"] = time.monotonic() - began
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["answer"])
        for name in ("claim", "reason", "margin", "states", "leaves", "seconds"):
            if name in answer:
                value = answer[name]
                click.echo(f"  {name:<8} {value:.6g}" if isinstance(value, float) else f"  {name:<8} {value}")
    return 0 if answer["answer"] == "accepted" else 1


def _checked(claims: Any, proofs: list[Any], network: str, spec: Path | None) -> tuple[str, list[Any]]:
    """(the claim in words, what was checked of each problem)."""
    from ..core.registry import component
    from ..networks import load_network

    loaded = load_network(network)
    if spec is None:
        (arrays,) = proofs
        checked = claims.check_label(arrays, loaded)
        label, width = int(arrays["label"]), float((arrays["upper"] - arrays["lower"]).max(initial=0.0)) / 2
        inputs = f"a box of {len(arrays['lower'])} inputs, half width up to {width:.6g}"
        inputs += f", in an l1 ball of radius {float(arrays['radius']):.6g}" if "radius" in arrays else ""
        return f"label {label} stays on top in {inputs}", [checked]
    from ..core.vnnlib import read_property

    problems = component("verifiers.graph.rewriting.reduction").reduce_property(loaded, read_property(spec))
    checked = claims.check_problems(proofs, [reduced.problem for reduced in problems])
    return f"{spec.name} holds", checked
