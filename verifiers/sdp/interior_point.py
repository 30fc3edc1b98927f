"""An interior-point method for the dual semidefinite program of one margin.

Maximise c over the multipliers subject to  M(multipliers) - c e0 e0' = S >= 0, where M is the matrix of the Lagrangian
with the box terms (see `certificate`). Primal-dual steps in the HKM direction: with X the primal matrix, Z = S^-1 and
w the primal slack of the multipliers that must be nonnegative,
    [tr(A_a X A_b Z) + diag(w / y)] dy = b + sigma mu (tr(A_a Z) + 1 / y),   dX = sigma mu Z - X - sym(X dS Z).
Every matrix that a multiplier brings has rank at most 2, A = (u v' + v u') / 2, so the entries on the left are
elementwise products of a few small matrices. The block of S of the variables that are multiplied with no other is
diagonal, so only its Schur complement, of size 1 + curved, is ever factorised. A step costs about
(inputs + neurons + 3 curved)^3 / 3 for the system and (inputs + neurons)^3 / 3 for the step length of X.

Only the curved neurons' multipliers move; those of the others stay at the linear program's. S is kept positive
definite, so every iterate gives a bound, which `certificate` proves; X and the system may be as inexact as they like.

C. Helmberg, F. Rendl, R. Vanderbei, H. Wolkowicz: An interior-point method for semidefinite programming. SIAM J.
Optim. 6, 1996.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from verifiers.lp.safe_bound import Indices, Vector

from .certificate import Multipliers, lagrangian
from .forms import Forms, Matrix
from .matrices import INSIDE, Inverse, cholesky, distance, longest


@dataclass(frozen=True)
class _Point:
    """floor, chord, curve, diagonal: (k,) of the curved neurons; plain: (n + m - k,) box multipliers of the rest;
    corner: the objective c."""

    floor: Vector
    chord: Vector
    curve: Vector
    diagonal: Vector
    plain: Vector
    corner: float

    def moved(self, step: Vector, length: float) -> _Point:
        k = len(self.floor)
        floor, chord, curve, diagonal, plain, corner = np.split(
            length * step, [k, 2 * k, 3 * k, 4 * k, 4 * k + len(self.plain)]
        )
        return _Point(
            self.floor + floor,
            self.chord + chord,
            self.curve + curve,
            self.diagonal + diagonal,
            self.plain + plain,
            self.corner + float(corner[0]),
        )

    def signed(self) -> Vector:
        """The multipliers that must stay positive: floor, chord, diagonal, plain."""
        return np.concatenate([self.floor, self.chord, self.diagonal, self.plain])


@dataclass(frozen=True)
class _Direction:
    """A step of (multipliers, X, w), and what the corrector needs of it: E = sym(dX dS Z) and dw dy / y."""

    step: Vector
    primal: Matrix
    slack: Vector
    head: Matrix
    coupling: Matrix


@dataclass(frozen=True)
class _State:
    """An iterate: the multipliers, the primal matrix X (N, N), its Cholesky factor, and the slack w of
    `_Point.signed`."""

    point: _Point
    primal: Matrix
    factor: Matrix
    slack: Vector


class DualProblem:
    """The semidefinite program of one margin, with the multipliers of the neurons in `curved` free.

    base: multipliers to start from, and to keep for the other neurons (best: the linear program's).
    Order of matrices: 1, the curved zeta, then the plain variables (inputs and the other zeta).
    """

    def __init__(self, forms: Forms, target: int, base: Multipliers, curved: Indices) -> None:
        self._forms, self._target, self._base, self._curved = forms, target, base, curved
        self._columns = forms.inputs + curved
        plain = np.ones(forms.inputs + len(forms.peak), dtype=bool)
        plain[self._columns] = False
        self._plain = np.flatnonzero(plain)
        self._order = order = np.concatenate([[0], 1 + self._columns, 1 + self._plain])
        pre, half = forms.rows[curved][:, order], forms.peak[curved] / 2
        post = np.zeros_like(pre)
        post[:, 0] = post[np.arange(len(curved)), 1 + np.arange(len(curved))] = half
        chord = post - forms.slope[curved, None] * pre
        chord[:, 0] -= forms.offset[curved]
        self._pre, self._half = pre, half
        # the multiplier of row a brings (u_a v_a' + v_a u_a') / 2: floor and chord are linear, so their u is e0
        self._v = np.vstack([pre - post, chord, post - pre])
        self._size = len(order)

    def multipliers(self, point: _Point) -> Multipliers:
        """The iterate as something to certify."""
        base = self._base
        floor, chord, curve = base.floor.copy(), base.chord.copy(), np.zeros_like(base.curve)
        floor[self._curved], chord[self._curved], curve[self._curved] = point.floor, point.chord, point.curve
        box = np.zeros(len(self._columns) + len(self._plain))
        box[self._columns], box[self._plain] = point.diagonal, point.plain
        return Multipliers(floor, chord, curve, box)

    def step_flops(self) -> float:
        """About how many floating-point operations one step takes; the start takes fewer."""
        k, size = len(self._curved), self._size
        return (size + 3 * k) ** 3 / 3 + size**3 / 3 + (40 * k + 400) * size**2

    def solve(self, scale: float) -> Iterator[tuple[Multipliers, float]]:
        """Better and better feasible multipliers, each with an estimate of how far its bound is from the optimum.

        scale: the difference expected between the linear program's bound and the optimum. Ends where rounding stops
        progress.
        """
        point = self._start(_START * scale / self._size)
        state, inverse = self._behaving(point), self._inverse(point)
        while inverse is not None:
            mu = self._complementarity(state)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                moved = self._step(state, inverse, mu) if mu > 0 else None
            if moved is None:
                return
            state = moved
            yield self.multipliers(state.point), self._complementarity(state) * (self._size + len(state.slack))
            inverse = self._inverse(state.point)

    def _start(self, mu: float) -> _Point:
        """A strictly feasible point at which the box multipliers are on the central path of `mu` (for no curvature:
        k^2 - mu k - r^2 / 4 = 0 makes the second moment of a variable with linear term r equal to 1)."""
        base, curved = self._base, self._curved
        least = mu / np.maximum(self._forms.peak[curved], np.finfo(np.float64).tiny)
        nothing = np.zeros(len(curved))
        point = _Point(
            np.maximum(base.floor[curved], least),
            np.maximum(base.chord[curved], least),
            nothing,
            nothing,
            np.zeros(len(self._plain)),
            0.0,
        )
        form = lagrangian(self._forms, self._target, self.multipliers(point))
        box = (mu + np.hypot(mu, form.linear)) / 2
        corner = form.constant - box.sum() - (form.linear**2 / (4 * box)).sum() - mu
        return replace(point, diagonal=box[self._columns], plain=box[self._plain], corner=float(corner))

    def _behaving(self, point: _Point) -> _State:
        """A nearly feasible primal start: the moments of the network at random inputs, which satisfy every constraint,
        mixed with a little of a diagonal matrix to be positive definite."""
        shape = 50 + self._size // 2, self._forms.inputs
        v = self._forms.behaviours(np.random.default_rng(0).uniform(-1.0, 1.0, size=shape))[:, self._order]
        primal = v.T @ v / len(v)
        primal *= 1.0 - _MIXED
        primal[0, 0] += _MIXED
        inner = np.arange(1, self._size)
        primal[inner, inner] += _MIXED / 3.0
        k = len(self._curved)
        slack = -self._traces(primal)[np.concatenate([np.arange(2 * k), np.arange(3 * k, 3 * k + self._size - 1)])]
        factor = np.asarray(np.linalg.cholesky(primal), dtype=np.float64)
        return _State(point, primal, factor, np.maximum(slack, _MIXED * np.abs(slack).max()))

    def _blocks(self, point: _Point) -> tuple[Matrix, Matrix]:
        """(head, coupling): S over (1, curved), and between (1, curved) and the plain variables."""
        form = lagrangian(self._forms, self._target, self.multipliers(point))
        # `lagrangian` leaves out neurons whose curve multiplier is exactly 0
        cross = np.zeros((len(self._curved), len(form.linear)))
        cross[np.searchsorted(self._curved, form.curved)] = form.cross
        inner = cross[:, self._columns]
        head = np.zeros((1 + len(self._curved), 1 + len(self._curved)))
        head[1:, 1:] = (inner + inner.T) / 2 + np.diag(point.diagonal)
        head[0, 1:] = head[1:, 0] = form.linear[self._columns] / 2
        head[0, 0] = form.constant - point.diagonal.sum() - point.plain.sum() - point.corner
        return head, np.vstack([form.linear[self._plain], cross[:, self._plain]]) / 2

    def _complement(self, point: _Point) -> tuple[Matrix, Matrix] | None:
        """(Cholesky factor of the Schur complement, coupling / plain), or None if S is not positive definite."""
        if not (point.signed() > 0).all():
            return None
        head, coupling = self._blocks(point)
        scaled = coupling / point.plain
        factor = cholesky(head - scaled @ coupling.T)
        return None if factor is None else (factor, scaled)

    def _inverse(self, point: _Point) -> Inverse | None:
        found = self._complement(point)
        if found is None:
            return None
        factor, scaled = found
        half = scipy.linalg.solve_triangular(factor, np.hstack([np.eye(len(factor)), -scaled]), lower=True)
        return Inverse(half, point.plain)

    def _step(self, state: _State, inverse: Inverse, mu: float) -> _State | None:
        """Mehrotra's predictor and corrector from `state`, at which the complementarity is `mu`; None if the system
        cannot be solved or the step has no length."""
        dense = inverse.dense()
        solver = self._solver(state, dense)
        if solver is None:
            return None
        signed, traces = state.point.signed(), self._traces(dense)
        nothing = np.zeros_like(dense), np.zeros_like(signed)
        predictor = self._direction(state, inverse, dense, traces, solver, 0.0, *nothing)
        dual, primal = self._lengths(state, predictor)
        left = self._predicted(state, predictor, dual, primal) / mu
        target = mu * min(1.0, max(left, 0.0)) ** 2
        change = self._symmetric(predictor.primal, predictor.head, predictor.coupling, predictor.step, inverse)
        cross = predictor.slack * predictor.step[self._signs()] / signed
        corrector = self._direction(state, inverse, dense, traces, solver, target, change, cross)
        dual, primal = self._lengths(state, corrector)
        return self._moved(state, corrector, dual, primal) if dual > _SHORTEST else None

    def _signs(self) -> Indices:
        """Where `_Point.signed` stands among all multipliers."""
        k = len(self._curved)
        return np.concatenate([np.arange(2 * k), np.arange(3 * k, 3 * k + self._size - 1)])

    def _solver(self, state: _State, dense: Matrix) -> Callable[[Vector], Vector] | None:
        """The solution of the Newton system for a right-hand side."""
        system, signs = self._system(state.primal, dense), self._signs()
        system[signs, signs] += state.slack / state.point.signed()
        scale = 1.0 / np.sqrt(np.diag(system))
        system *= scale[:, None]
        system *= scale
        system[np.diag_indices_from(system)] += 1e-14
        factor = cholesky(system) if np.isfinite(system).all() else None
        if factor is None:
            return None
        pair = (factor, True)
        return lambda right: np.asarray(scale * scipy.linalg.cho_solve(pair, scale * right, check_finite=False))

    def _direction(
        self,
        state: _State,
        inverse: Inverse,
        dense: Matrix,
        traces: Vector,
        solver: Callable[[Vector], Vector],
        target: float,
        change: Matrix,
        cross: Vector,
    ) -> _Direction:
        """The step towards complementarity `target`, with second-order terms `change` of X and `cross` of w."""
        signs, signed = self._signs(), state.point.signed()
        right = target * traces - self._traces(change)
        right[signs] += target / signed - cross
        right[-1] += 1.0
        step = solver(right)
        head, coupling = self._blocks(state.point.moved(step, 1.0))
        old_head, old_coupling = self._blocks(state.point)
        head, coupling = head - old_head, coupling - old_coupling
        primal = target * dense - state.primal - self._symmetric(state.primal, head, coupling, step, inverse) - change
        slack = target / signed - state.slack - state.slack / signed * step[signs] - cross
        return _Direction(step, primal, slack, head, coupling)

    def _symmetric(self, primal: Matrix, head: Matrix, coupling: Matrix, step: Vector, inverse: Inverse) -> Matrix:
        """sym(primal dS Z), with dS given by its blocks and, for the plain variables, by `step`."""
        k = len(head)
        product = np.hstack([primal[:, :k] @ head + primal[:, k:] @ coupling.T, primal[:, :k] @ coupling])
        product[:, k:] += primal[:, k:] * step[4 * (k - 1) : -1]
        product = inverse.after(product)
        result: Matrix = (product + product.T) / 2
        return result

    def _lengths(self, state: _State, direction: _Direction) -> tuple[float, float]:
        """(dual, primal) step lengths that stay 10% inside, the primal one estimated."""
        dual = longest(lambda length: self._complement(state.point.moved(direction.step, length)) is not None)
        falling = direction.slack < 0
        most = float((-state.slack[falling] / direction.slack[falling]).min(initial=np.inf))
        return dual, min(1.0, INSIDE * most, INSIDE * distance(state.factor, direction.primal))

    def _moved(self, state: _State, direction: _Direction, dual: float, primal: float) -> _State | None:
        """The state after the step, with the primal one shortened until X is positive definite; None if it never is."""
        while primal > _SHORTEST:
            changed = state.primal + primal * direction.primal
            factor = cholesky(changed)
            if factor is not None:
                slack = state.slack + primal * direction.slack
                return _State(state.point.moved(direction.step, dual), changed, factor, slack)
            primal *= 0.7
        return None

    def _predicted(self, state: _State, direction: _Direction, dual: float, primal: float) -> float:
        """The complementarity that the step would leave."""
        changed, slack = state.primal + primal * direction.primal, state.slack + primal * direction.slack
        return self._complementarity(_State(state.point.moved(direction.step, dual), changed, state.factor, slack))

    def _complementarity(self, state: _State) -> float:
        """(tr(X S) + w y) over the number of both."""
        head, coupling = self._blocks(state.point)
        k, primal, signed = len(head), state.primal, state.point.signed()
        matrix = (head * primal[:k, :k]).sum() + 2.0 * (coupling * primal[:k, k:]).sum()
        matrix += np.diag(primal)[k:] @ state.point.plain
        return float(matrix + state.slack @ signed) / (self._size + len(signed))

    def _traces(self, matrix: Matrix) -> Vector:
        """tr(A_a `matrix`) for (floor, chord, curve, diagonal, plain, corner)."""
        rows = np.einsum("ij,ij->i", self._u_times(matrix), self._v)
        diagonal = np.diag(matrix)
        return np.concatenate([rows, diagonal[1:] - diagonal[0], -diagonal[:1]])

    def _u_times(self, matrix: Matrix) -> Matrix:
        """u_a' `matrix` for every row a: u is e0, or z = half (1 + zeta)."""
        k = len(self._half)
        outputs = self._half[:, None] * (matrix[0] + matrix[1 : 1 + k])
        return np.vstack([np.broadcast_to(matrix[0], (2 * k, self._size)), outputs])

    def _times_u(self, rows: Matrix) -> Matrix:
        """rows u_a for every a, (rows, 3 k)."""
        k = len(self._half)
        outputs = (rows[:, :1] + rows[:, 1 : 1 + k]) * self._half
        return np.hstack([np.broadcast_to(rows[:, :1], (len(rows), 2 * k)), outputs])

    def _v_times(self, matrix: Matrix, u_times: Matrix) -> Matrix:
        """v_a' `matrix` for every row a: one product with the pre-activations, the outputs' is known."""
        k = len(self._half)
        pre, post, slope = self._pre @ matrix, u_times[2 * k :], self._forms.slope[self._curved, None]
        chord = post - slope * pre - self._forms.offset[self._curved, None] * matrix[0]
        return np.vstack([pre - post, chord, post - pre])

    def _system(self, primal: Matrix, inverse: Matrix) -> Matrix:
        """tr(A_a X A_b Z), in the order of `_traces`."""
        ux, uz = self._u_times(primal), self._u_times(inverse)
        vx, vz = self._v_times(primal, ux), self._v_times(inverse, uz)
        mixed_x, mixed_z = self._times_u(vx), self._times_u(vz)
        rows = self._times_u(ux) * (vz @ self._v.T) + (vx @ self._v.T) * self._times_u(uz)
        rows += mixed_x.T * mixed_z + mixed_x * mixed_z.T
        # e_j e_j' against a row, and against e_i e_i'
        mixed, squares = (ux * vz + vx * uz) / 2, primal * inverse
        # the box terms bring e_j e_j' - e0 e0', the corner -e0 e0'
        mixed = np.hstack([mixed[:, 1:] - mixed[:, :1], -mixed[:, :1]])
        squares[1:] -= squares[0]
        squares[:, 1:] -= squares[:, :1]
        squares = np.roll(squares, -1, axis=(0, 1))
        squares[-1, :-1] *= -1.0
        squares[:-1, -1] *= -1.0
        return np.block([[rows / 4, mixed], [mixed.T, squares]])


_START = 3.0
"""How far out on the central path to start, in units of the expected gap: 1 and 30 need a few steps more."""
_MIXED = 0.05
_SHORTEST = 1e-4
