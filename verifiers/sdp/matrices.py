"""Dense linear algebra of the interior-point method: structured inverses, factors and step lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from verifiers.lp.safe_bound import Vector

from .forms import Matrix

INSIDE = 0.9
"""Steps end at this part of the way to the boundary."""
_LANCZOS = 25
_SHORTEST = 1e-5


@dataclass(frozen=True)
class Inverse:
    """Z = S^-1 = half' half + diag(0, 1 / plain): `half` is (1 + curved, N)."""

    half: Matrix
    plain: Vector

    def dense(self) -> Matrix:
        inverse: Matrix = self.half.T @ self.half
        tail = np.arange(len(self.half), self.half.shape[1])
        inverse[tail, tail] += 1.0 / self.plain
        return inverse

    def after(self, matrix: Matrix) -> Matrix:
        """matrix Z."""
        product: Matrix = (matrix @ self.half.T) @ self.half
        product[:, len(self.half) :] += matrix[:, len(self.half) :] / self.plain
        return product


def longest(feasible: Callable[[float], bool]) -> float:
    """A step length at most 1 that stays 10% inside the longest feasible one found by backtracking; 0 if none."""
    length = 1.0
    while length > _SHORTEST:
        if feasible(length):
            return length if length == 1.0 else INSIDE * length
        length *= 0.85
    return 0.0


def distance(factor: Matrix, change: Matrix) -> float:
    """About the largest length at which L L' + length * change is positive semidefinite, L being `factor`.

    That is -1 over the least eigenvalue of L^-1 change L^-T; a few Lanczos steps see it from above, so the length
    may come out a little long.
    """

    def congruence(vector: Vector) -> Vector:
        raised = scipy.linalg.solve_triangular(factor, vector.ravel(), lower=True, trans="T", check_finite=False)
        return np.asarray(scipy.linalg.solve_triangular(factor, change @ raised, lower=True, check_finite=False))

    if not np.isfinite(change).all():
        return 0.0
    size = len(factor)
    operator = LinearOperator((size, size), matvec=congruence, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)
    steps = min(size, _LANCZOS)
    try:
        values = eigsh(operator, 1, which="SA", v0=start, ncv=steps, maxiter=2, tol=0.05, return_eigenvectors=False)
    except ArpackNoConvergence as unfinished:
        values = unfinished.eigenvalues
    least = float(values[0]) if len(values) else -np.inf
    return -1.0 / least if least < 0 else np.inf


def cholesky(matrix: Matrix) -> Matrix | None:
    """The lower factor, or None if `matrix` is not positive definite."""
    try:
        factor: Matrix = np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    return factor
