"""`sokbench check-proof PROOF NETWORK [SPEC]`: does a recorded proof show what it claims?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .options import examples, json_option, print_json


@click.command("check-proof")
@click.argument("proof", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("network")
@click.argument("spec", required=False, type=click.Path(path_type=Path, dir_okay=False))
@json_option
@examples(
    "sokbench check-proof proofs/3a5c9730d60b-bc7de94c9869.npz model.onnx",
    "sokbench check-proof proofs/3a5c9730d60b-bc7de94c9869.npz model.onnx property.vnnlib",
)
def command(proof: Path, network: str, spec: Path | None, as_json: bool) -> int:
    """Check the PROOF that a search wrote (method beta_crown with proofs=FOLDER) about NETWORK, or about SPEC of it.

    NETWORK is a zoo name or an .onnx file. The checker has its own arithmetic and trusts nothing in the file. A proof
    says that a label stays on top for all inputs of a box; for a SPEC it is about one of the problems that the property
    was reduced to. Exit code 1 if the proof is refused.
    """
    from ..core.registry import component

    proofs = component("verifiers.complete.proof")
    arrays = proofs.read_proof(proof)
    began = time.monotonic()
    try:
        asked, claim = _subject(arrays, network, spec)
        checked = proofs.check_proof(arrays, asked)
        if not proofs.claims_label(arrays, asked.num_classes):
            raise proofs.Refused("the rows do not say that a label stays on top")
        answer: dict[str, Any] = {"answer": "accepted", "claim": claim, "margin": checked.margin}
        answer |= {"states": checked.states, "leaves": checked.leaves}
    except proofs.Refused as reason:
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


def _subject(arrays: Any, network: str, spec: Path | None) -> tuple[Any, str]:
    """(the network that the proof is about, its claim in words)."""
    from ..core.registry import component
    from ..networks import load_network

    loaded = load_network(network)
    label = int(arrays["label"])
    if spec is None:
        low, high = arrays["lower"], arrays["upper"]
        width = float((high - low).max(initial=0.0)) / 2
        return loaded, f"label {label} stays on top in a box of {len(low)} inputs, half width up to {width:.6g}"
    from ..core.vnnlib import read_property

    problems = component("verifiers.graph.reduction").reduce_property(loaded, read_property(spec))
    for place, reduced in enumerate(problems):
        ball = reduced.problem.ball
        inside = (arrays["lower"] <= -ball.radius).all() and (arrays["upper"] >= ball.radius).all()
        if reduced.problem.network.sha256 == str(arrays["network"]) and label == reduced.problem.label and inside:
            return reduced.problem.network, f"problem {place + 1} of {len(problems)} of {spec.name}"
    raise component("verifiers.complete.proof").Refused(f"the proof is about none of the problems of {spec.name}")
