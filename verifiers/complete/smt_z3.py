"""SMT: the network and the negated property as formulas over the rationals, decided by Z3.

Encoded exactly: every float32 or float64 weight is a rational number, the ball and the box are linear inequalities, a
ReLU is an if-then-else (stable ones, by CROWN's bounds, are not split), and some other class is at least as large as
the label's. Complete for chains of affine layers and ReLU under l_inf with the box, and l1, up to a stated size; and
only where layers are taken as they are: products of layers and folded batch norms are rounded, and are refused.

What the verdicts rest on: verified on Z3's "unsat", which is rational arithmetic throughout; falsified on an input
that is rounded to floats, moved into the ball and judged in float64. A model that this spoils stays unknown.

Cost: exponential in the unstable neurons, with large rationals; for toy networks only.

Pulina and Tacchella, CAV 2010; Katz et al., Reluplex, CAV 2017 (the encoding); de Moura and Bjorner, Z3, TACAS 2008.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from sokbench.core.errors import Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Termination, Verdict

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem
    from verifiers.lp.chain import Instance

_MOST_INPUTS, _MOST_UNSTABLE = 64, 60


class SmtZ3(CompleteVerifier):
    """Exact rational encoding, decided by Z3."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="smt_z3",
        title="SMT (Z3)",
        kind="verifier",
        family="SMT",
        norms=("linf", "l1"),
        summary="Network, ball and negated property as formulas over the rationals for the SMT solver Z3; at most 64 "
        "inputs and 60 unstable neurons.",
        paper="Katz et al., Reluplex: An Efficient SMT Solver for Verifying Deep Neural Networks, CAV 2017",
        url="https://arxiv.org/abs/1702.01135",
        complete=True,
    )

    def prepare(self, network: Network) -> None:
        from verifiers.lp.chain import chain_of

        _solver()
        chain_of(network)

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        import numpy as np
        import torch

        from verifiers.lp.chain import chain_of, instances

        from .witness import WitnessFinder

        z3 = _solver()
        if problem.x.numel() > _MOST_INPUTS:
            raise Unsupported(f"smt_z3 takes at most {_MOST_INPUTS} inputs, not {problem.x.numel()}")
        if any(layer.weight_error or layer.bias_error for layer in chain_of(problem.network)):
            raise Unsupported("smt_z3 needs the layers' own weights: products of layers are rounded")
        (image,) = instances(problem.network, problem.x[None], torch.tensor([problem.label]), problem.ball, deadline)
        unstable = sum(int(((low < 0) & (up > 0)).sum()) for low, up in image.intervals)
        if unstable > _MOST_UNSTABLE:
            raise Unsupported(f"smt_z3 takes at most {_MOST_UNSTABLE} unstable neurons, not {unstable}")
        # a context of its own: names and numbering of earlier questions would change the search
        context = z3.Context()
        solver = z3.SolverFor("QF_LRA", ctx=context)
        solver.set("timeout", max(1, int(1000 * min(deadline.remaining(), 4e6))))
        inputs = _inputs(z3, solver, problem, context)
        logits = _network(z3, image, inputs, context)
        others = [other for other in range(len(logits)) if other != problem.label]
        solver.add(z3.Or([logits[problem.label] <= logits[other] for other in others]))
        answer = solver.check()
        if answer == z3.unsat:
            return Outcome(Verdict.VERIFIED, stats={"unstable": unstable})
        if answer == z3.unknown:
            reason = solver.reason_unknown()
            late = deadline.remaining() == 0 or reason in ("timeout", "canceled")
            ended = Termination.TIMEOUT if late else Termination.OK
            return Outcome(Verdict.UNKNOWN, termination=ended, stats={"reason": reason, "unstable": unstable})
        model = solver.model()
        point = np.array([_value(model.eval(value, model_completion=True)) for value in inputs])
        # models lie on the decision boundary as often as not: a few steps from there survive the rounding
        finder = WitnessFinder(problem, image.layers)
        witness = finder.at(point)
        witness = finder.near([point], deadline) if witness is None else witness
        if witness is None:
            reason = "Z3's counterexample is lost when it is rounded to floats"
            return Outcome(Verdict.UNKNOWN, stats={"reason": reason, "unstable": unstable})
        return Outcome(Verdict.FALSIFIED, witness=witness, stats={"unstable": unstable})


def _solver() -> Any:
    try:
        import z3
    except ImportError:
        raise Unsupported("Z3 is not installed: pip install z3-solver") from None
    return z3


def _number(z3: Any, value: float, context: Any) -> Any:
    exact = Fraction(value)
    return z3.RatVal(exact.numerator, exact.denominator, context)


def _value(number: Any) -> float:
    return float(Fraction(number.numerator_as_long(), number.denominator_as_long()))


def _inputs(z3: Any, solver: Any, problem: Problem, context: Any) -> list[Any]:
    """Variables for the inputs, constrained to the ball and the box."""
    ball, spread, found = problem.ball, [], []
    radius = _number(z3, ball.radius, context)
    for place, value in enumerate(problem.x.double().flatten().tolist()):
        x = z3.Real(f"x{place}", context)
        difference = x - _number(z3, value, context)
        if ball.norm == "linf":
            solver.add(difference <= radius, -difference <= radius)
        else:
            size = z3.Real(f"d{place}", context)
            solver.add(difference <= size, -difference <= size)
            spread.append(size)
        if ball.low is not None:
            solver.add(x >= _number(z3, ball.low, context))
        if ball.high is not None:
            solver.add(x <= _number(z3, ball.high, context))
        found.append(x)
    if spread:
        solver.add(z3.Sum(spread) <= radius)
    return found


def _network(z3: Any, image: Instance, inputs: list[Any], context: Any) -> list[Any]:
    """Terms for the logits."""
    values = inputs
    for depth, layer in enumerate(image.layers):
        before = []
        for row in range(layer.weight.shape[0]):
            part = slice(layer.weight.indptr[row], layer.weight.indptr[row + 1])
            pairs = zip(layer.weight.indices[part].tolist(), layer.weight.data[part].tolist(), strict=True)
            terms = [_number(z3, weight, context) * values[column] for column, weight in pairs]
            before.append(z3.Sum([_number(z3, float(layer.bias[row]), context), *terms]))
        if depth == len(image.layers) - 1:
            return before
        lower, upper = image.intervals[depth]
        zero = z3.RealVal(0, context)
        values = [
            term if low >= 0 else zero if up <= 0 else z3.If(term > 0, term, zero)
            for term, low, up in zip(before, lower.tolist(), upper.tolist(), strict=True)
        ]
    return values
