"""Marabou: the extended simplex method on ReLU constraints, by the tool of its authors.

Encoded: variables for every input and every neuron, the affine layers as equations, the ReLUs as constraints that
Marabou's simplex repairs lazily and splits where it must, the ball as bounds of the input variables, one query per
other class (f_y - f_j <= 0). For chains of affine layers and ReLU under l_inf with the box.

What the verdicts rest on: falsified on an input judged in float64. Verified on Marabou's "unsat" for every class and a
proof of ours for each (`phase_search`, every leaf certified). Marabou computes in floating point, and no margin would
make its word a proof: its simplex restores a basis only when values have drifted by 0.1 (DEGRADATION_THRESHOLD), bounds
are tightened with an inverted basis without directed rounding, and the checker of its own proofs works in floats and
does not hand its result to Python (Isac et al., FMCAD 2022; maraboupy 2.0). Asked whether f_y - f_j <= 0.001 is reached
where the minimum is exactly 0, or 0.004 less, it said "unsat" to at least 4 of 400 queries about tiny networks with
weights up to 192. Other answers are unknown.

Cost: exponential at worst, for Marabou and for the proof; `stats` has the seconds of Marabou alone. Needs the package
maraboupy (Linux, Python up to 3.11).

Katz et al., The Marabou Framework for Verification and Analysis of Deep Neural Networks, CAV 2019.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from sokbench.core.errors import Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem
    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.chain import Instance
    from verifiers.lp.tighten import Relaxed

    from .search.phase_search import Search
    from .witness import WitnessFinder


class Marabou(CompleteVerifier):
    """Marabou, called in this process."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="marabou",
        title="Marabou",
        kind="verifier",
        family="SMT",
        norms=("linf",),
        summary="Extended simplex method with lazy ReLU splitting, by the package maraboupy; its unsat counts where a "
        "search of ours proves it again, its answers other than sat and unsat are unknown.",
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
        finder, confirm = WitnessFinder(problem, image.layers), _Confirmation(image)
        answers: dict[str, str] = {}
        stats: dict[str, Any] = {"answers": answers, "marabou_seconds": 0.0}
        for other in np.argsort(image.margins).tolist():
            if other == problem.label or image.margins[other] > 0:
                continue
            if deadline.expired():
                return Outcome(Verdict.UNKNOWN, None, None, Termination.TIMEOUT, stats=stats)
            began = time.monotonic()
            answer, point = _ask(core, image, other, deadline)
            stats["marabou_seconds"] += time.monotonic() - began
            answers[str(other)] = answer
            late = Termination.TIMEOUT if deadline.expired() or answer.lower() == "timeout" else Termination.OK
            if answer == "sat":
                # on the boundary itself, a point of the network may be a few steps away
                witness = finder.at(point)
                witness = finder.near([point], deadline) if witness is None else witness
                if witness is not None:
                    return Outcome(Verdict.FALSIFIED, witness=witness, stats=stats)
                return Outcome(Verdict.UNKNOWN, stats={**stats, "reason": "sat, but no counterexample"})
            if answer != "unsat":
                return Outcome(Verdict.UNKNOWN, None, None, late, stats=stats)
            found = confirm.search(other, finder, deadline)
            if found.witness is not None:
                return Outcome(Verdict.FALSIFIED, witness=found.witness, stats={**stats, "reason": "unsat is refuted"})
            if not found.bound > 0:
                ended = Termination.OK if found.finished else Termination.TIMEOUT
                reason = {"reason": f"unsat of class {other} is not confirmed"}
                return Outcome(Verdict.UNKNOWN, None, None, ended, stats={**stats, **reason})
            image.margins[other] = found.bound
        return Outcome(Verdict.VERIFIED, float(image.margins.min()), stats=stats)


class _Confirmation:
    """Our own proofs of what Marabou calls unsat, in one linear program that is built when first needed."""

    def __init__(self, image: Instance) -> None:
        self._image = image
        self._relaxed: Relaxed | None = None

    def search(self, other: int, finder: WitnessFinder, deadline: Deadline) -> Search:
        from verifiers.lp.tighten import tighten

        from .search.phase_search import search_phases

        image = self._image
        if self._relaxed is None:
            self._relaxed = tighten(image.layers, image.inputs, image.intervals, deadline.share(0.5))
        objective = self._relaxed.program.margin(image.layers[-1], image.label, other)
        return search_phases(self._relaxed.program, self._relaxed.solver, objective, finder.at, deadline)


def _core() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from maraboupy import MarabouCore
    except ImportError:
        raise Unsupported("Marabou is not installed: pip install maraboupy (Python up to 3.11)") from None
    return MarabouCore


def _ask(core: Any, image: Instance, other: int, deadline: Deadline) -> tuple[str, Any]:
    """(Marabou's answer to "f_label - f_other <= 0?", the input it names if sat)."""
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
    difference.setScalar(0.0)
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
