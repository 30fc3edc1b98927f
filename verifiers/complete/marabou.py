"""Marabou: the extended simplex method on ReLU constraints, by the tool of its authors.

Encoded: variables for every input and every neuron, the affine layers as equations, the ReLUs as constraints that
Marabou's simplex repairs lazily and splits where it must, the ball as bounds of the input variables, one query per
other class (f_y - f_j <= 0). For chains of affine layers and ReLU under l_inf with the box.

What the verdicts rest on: falsified on an input judged in float64. Verified on Marabou's "unsat" for every class: the
tool computes in floating point with tolerances and gives no certificate here, so its queries ask for a little more than
is claimed, f_y - f_j <= t, with t a thousand times its tolerance in the units of the logits; where intermediate values
are so large that this is no cover, the method refuses. Every other answer is unknown.

Cost: exponential at worst. Needs the package maraboupy (Linux, Python up to 3.11).

Katz et al., The Marabou Framework for Verification and Analysis of Deep Neural Networks, CAV 2019.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from sokbench.core.errors import Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem
    from verifiers.graph.affine import AffineLayer
    from verifiers.lp.chain import Instance

_TOLERANCE = 1e-6  # of Marabou's constraints
_COVER = 1e3 * _TOLERANCE
_LARGEST = 1e3  # beyond it, an error of the tolerance in one neuron can reach the cover in a logit


class Marabou(CompleteVerifier):
    """Marabou, called in this process."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="marabou",
        title="Marabou",
        kind="verifier",
        family="SMT",
        norms=("linf",),
        summary="Extended simplex method with lazy ReLU splitting, by the package maraboupy; its answers other than "
        "sat and unsat are unknown.",
        paper="Katz et al., The Marabou Framework for Verification and Analysis of Deep Neural Networks, CAV 2019",
        url="https://doi.org/10.1007/978-3-030-25540-4_26",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        _core()
        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import numpy as np
        import torch

        from verifiers.lp.chain import instances

        from .witness import WitnessFinder

        core = _core()
        (image,) = instances(problem.network, problem.x[None], torch.tensor([problem.label]), problem.ball, deadline)
        _refuse_large(image)
        finder = WitnessFinder(problem, image.layers)
        answers: dict[str, str] = {}
        for other in np.argsort(image.margins).tolist():
            if other == problem.label or image.margins[other] > 0:
                continue
            if deadline.expired():
                return Outcome(Verdict.UNKNOWN, None, None, Termination.TIMEOUT, stats={"answers": answers})
            answer, point = _ask(core, image, other, deadline)
            answers[str(other)] = answer
            if answer == "sat":
                # within the cover, the boundary itself may be a few steps away
                witness = finder.at(point)
                witness = finder.near([point], deadline) if witness is None else witness
                if witness is None:
                    return Outcome(Verdict.UNKNOWN, stats={"answers": answers, "reason": "sat, but no counterexample"})
                return Outcome(Verdict.FALSIFIED, witness=witness, stats={"answers": answers})
            if answer != "unsat":
                late = deadline.expired() or answer.lower() == "timeout"
                ended = Termination.TIMEOUT if late else Termination.OK
                return Outcome(Verdict.UNKNOWN, None, None, ended, stats={"answers": answers})
        return Outcome(Verdict.VERIFIED, stats={"answers": answers})


def _core() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from maraboupy import MarabouCore
    except ImportError:
        raise Unsupported("Marabou is not installed: pip install maraboupy (Python up to 3.11)") from None
    return MarabouCore


def _refuse_large(image: Instance) -> None:
    import numpy as np

    reach = max((float(np.abs(side).max(initial=0.0)) for pair in image.intervals for side in pair), default=0.0)
    gain = 1.0
    for layer in image.layers[1:]:
        gain *= max(1.0, float(abs(layer.weight).sum(axis=1).max()))
    if reach > _LARGEST or gain > _COVER / _TOLERANCE:
        raise Unsupported(
            f"Marabou's tolerances are no proof here: values up to {reach:.3g}, layers that amplify by {gain:.3g}"
        )


def _ask(core: Any, image: Instance, other: int, deadline: Deadline) -> tuple[str, Any]:
    """(Marabou's answer to "f_label - f_other <= cover?", the input it names if sat)."""
    import numpy as np

    query = core.InputQuery()
    size = image.inputs.size
    widths = [layer.weight.shape[0] for layer in image.layers]
    query.setNumberOfVariables(size + 2 * sum(widths[:-1]) + widths[-1])
    for place in range(size):
        query.setLowerBound(place, float(image.inputs.lower[place]))
        query.setUpperBound(place, float(image.inputs.upper[place]))
        query.markInputVariable(place, place)
    before = 0
    first = size
    for depth, layer in enumerate(image.layers):
        width = widths[depth]
        _equations(core, query, layer, before, first)
        if depth == len(image.layers) - 1:
            break
        lower, upper = image.intervals[depth]
        for neuron in range(width):
            query.setLowerBound(first + neuron, float(lower[neuron]))
            query.setUpperBound(first + neuron, float(upper[neuron]))
            query.setLowerBound(first + width + neuron, 0.0)
            query.setUpperBound(first + width + neuron, max(0.0, float(upper[neuron])))
            core.addReluConstraint(query, first + neuron, first + width + neuron)
        before, first = first + width, first + 2 * width
    difference = core.Equation(core.Equation.EquationType.LE)
    difference.addAddend(1.0, first + image.label)
    difference.addAddend(-1.0, first + other)
    difference.setScalar(_COVER)
    query.addEquation(difference)
    options = core.Options()
    options._verbosity = 0
    options._timeoutInSeconds = max(1, int(min(deadline.remaining(), 1e6)))
    answer, values, _ = core.solve(query, options, "")
    point = np.array([values[place] for place in range(size)]) if answer == "sat" else None
    return str(answer), point


def _equations(core: Any, query: Any, layer: AffineLayer, before: int, first: int) -> None:
    """W a - p = -b for every neuron."""
    for row in range(layer.weight.shape[0]):
        equation = core.Equation()
        part = slice(layer.weight.indptr[row], layer.weight.indptr[row + 1])
        for column, weight in zip(layer.weight.indices[part].tolist(), layer.weight.data[part].tolist(), strict=True):
            equation.addAddend(weight, before + column)
        equation.addAddend(-1.0, first + row)
        equation.setScalar(-float(layer.bias[row]))
        query.addEquation(equation)
