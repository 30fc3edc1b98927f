"""Methods that take general properties as they are, such as tools of others that read VNN-LIB themselves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, final

import numpy as np

from .errors import Unsupported
from .method import Method, confirm_witness
from .property import Case, Conjunction, Property, float32_inside, rounded_down, rounded_up

if TYPE_CHECKING:
    from pathlib import Path

    from .deadline import Deadline
    from .network import Network
    from .outcome import Outcome
    from .problem import Problem


class PropertyVerifier(Method):
    """A verifier that is asked about a network and a `Property`; l_inf balls are put to it as boxes."""

    @abstractmethod
    def decide_property(self, network: Network, asked: Property, deadline: Deadline, onnx: Path | None) -> Outcome:
        """Verified if the property holds, falsified by a witness (shape `network.input_shape`) that is judged by the
        caller. onnx: the file the network was read from, if it was.

        Raises `Unsupported` and `OutOfTime`.
        """

    @final
    def _answer(self, problem: Problem, deadline: Deadline) -> Outcome:
        asked = property_of(problem)
        outcome = self.decide_property(problem.network, asked, deadline, None)
        if outcome.witness is None:
            return outcome
        # tools work in float32 or print few digits: what they found may lie outside the ball by that much
        x = outcome.witness.double().reshape(-1).numpy()
        inside = float32_inside(x, asked.cases[0].lower, asked.cases[0].upper)
        witness = problem.x.new_tensor(inside).reshape(problem.x.shape)
        return confirm_witness(problem, replace(outcome, witness=witness))


def property_of(problem: Problem) -> Property:
    """The problem of an l_inf ball as a property: unsafe is every output on which another class reaches the label.

    The box is rounded outward from the exact ball, then cut with [low, high]. Raises `Unsupported` for other norms.
    """
    ball, classes = problem.ball, problem.network.num_classes
    if ball.norm != "linf":
        raise Unsupported(f"a {ball.norm} ball is no box")
    x, radius = problem.x.double().reshape(-1).tolist(), Fraction(ball.radius)
    lower = np.array([rounded_down(Fraction(value) - radius) for value in x])
    upper = np.array([rounded_up(Fraction(value) + radius) for value in x])
    lower = lower if ball.low is None else np.maximum(lower, ball.low)
    upper = upper if ball.high is None else np.minimum(upper, ball.high)
    rows = np.zeros((classes, classes))
    rows[:, problem.label] = 1.0
    rows[np.arange(classes), np.arange(classes)] -= 1.0
    unsafe = tuple(Conjunction(rows[[j]], np.zeros(1)) for j in range(classes) if j != problem.label)
    return Property(len(x), classes, (Case(lower, upper, unsafe),))
