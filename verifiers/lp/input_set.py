"""The inputs of a problem as columns and rows of a linear program: l_inf (cut with the box) and l1 balls.

An l1 ball needs x - p + q = x0 with p, q >= 0 and sum p + sum q <= radius: linear, exact in floating point, because
every coefficient is 1 and the right-hand sides are the data themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sokbench.core.errors import Unsupported

from .safe_bound import Vector

if TYPE_CHECKING:
    from torch import Tensor

    from sokbench.core.problem import Ball

NORMS = ("linf", "l1")


@dataclass(frozen=True)
class InputSet:
    """A set of inputs (n,), flattened in the network's order.

    lower, upper: a box around the set, rounded outward
    center:       of the l1 ball, or None if the set is the box itself
    radius:       of the l1 ball
    """

    lower: Vector
    upper: Vector
    center: Vector | None = None
    radius: float = 0.0

    @property
    def size(self) -> int:
        return len(self.lower)

    def columns(self) -> tuple[Vector, Vector]:
        """Lower and upper bounds of the columns: x, and for an l1 ball p and q."""
        if self.center is None:
            return self.lower, self.upper
        none, most = np.zeros(2 * self.size), np.full(2 * self.size, self.radius)
        return np.concatenate([self.lower, none]), np.concatenate([self.upper, most])

    def rows(self) -> tuple[Vector, Vector]:
        """Lower and upper sides of the rows of `matrix`."""
        if self.center is None:
            return np.zeros(0), np.zeros(0)
        return np.append(self.center, -np.inf), np.append(self.center, self.radius)

    def matrix(self) -> sp.csr_array:
        if self.center is None:
            return sp.csr_array((0, self.size))
        identity = sp.eye_array(self.size)
        total = sp.csr_array(np.concatenate([np.zeros(self.size), np.ones(2 * self.size)])[None])
        return sp.csr_array(sp.vstack([sp.hstack([identity, -identity, identity]), total], format="csr"))


def input_set(x: Tensor, ball: Ball) -> InputSet:
    """The perturbations of one input `x` (any shape) in `ball`; raises `Unsupported` for l2 and l0."""
    if ball.norm not in NORMS:
        raise Unsupported(f"linear programs take l_inf and l1 balls, not {ball.norm}")
    point = x.detach().double().cpu().numpy().ravel()
    # one rounding each, undone by one step outward; a radius of 0 is the point itself
    lower = np.nextafter(point - ball.radius, -np.inf) if ball.radius else point
    upper = np.nextafter(point + ball.radius, np.inf) if ball.radius else point
    lower = lower if ball.low is None else np.maximum(lower, ball.low)
    upper = upper if ball.high is None else np.minimum(upper, ball.high)
    if ball.norm == "l1":
        return InputSet(lower, upper, point, ball.radius)
    return InputSet(lower, upper)
