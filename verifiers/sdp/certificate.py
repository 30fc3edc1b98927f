"""From dual multipliers to a lower bound of the margin that holds in real arithmetic.

For a form g (the margin) and multipliers l, t >= 0, nu of any sign, k, d >= 0, every behaviour of the network has
    margin >= g.v + sum_i l_i (p_i - z_i) + t_i (z_i - s_i p_i - o_i) + nu_i z_i (z_i - p_i)
                  + sum_j k_j (y_j^2 - 1) + sum_i d_i (zeta_i^2 - 1)  -  e_g - sum_i (l_i + t_i s_i + |nu_i| u_i) e_i
because each added term is at most 0 for the exact p_i (or is 0: z (z - p) = 0), and p_i is known up to e_i.
i runs over the unstable neurons; those with nu_i != 0 are "curved". y holds the inputs xi and the zeta of the
neurons that are not curved: no two of them are multiplied with each other, so their block of the quadratic form is
diag(k) and they are minimised out over all of R,
    min over y of k y^2 + r y = -r^2 / (4 k),
which leaves [1, zeta]' S [1, zeta] with S of size 1 + curved (the Schur complement). If S - c e0 e0' has no
eigenvalue below -eta, the minimum is at least c - eta (1 + curved), as |zeta| <= 1.

Nothing is asked of the multipliers, so an inexact solver costs tightness only. Rounding, with u = 2^-53:
- every coefficient of the form is a sum of at most 3 m + 10 products, whose magnitudes add up to `_magnitude`;
- the complement errs by gamma_(|y| + 4) / 4 sum_j (sum_i |B_ij|)^2 / k_j, summed over its entries;
- eta does not trust the eigensolver: with V, L as returned, S = V L V' + R gives
  lambda_min(S) >= min(0, min L) ||V||^2 - ||R||, where ||V||^2 <= 1 + ||V'V - I||_F, and both Frobenius norms are
  computed with their own rounding added.

A. Raghunathan, J. Steinhardt, P. Liang: Semidefinite relaxations for certifying robustness to adversarial examples.
NeurIPS 2018. The dual with diagonal shifts: S. Dathathri et al., NeurIPS 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from verifiers.lp.safe_bound import UNIT, Indices, Vector

from .forms import Forms, Matrix


@dataclass(frozen=True)
class Multipliers:
    """Dual variables; `certify` takes any.

    floor, chord: (m,) of z >= p and z <= s p + o, meant to be nonnegative
    curve:        (m,) of z (z - p) = 0
    box:          (n + m,) of xi_j^2 <= 1 and zeta_i^2 <= 1, meant to be nonnegative
    """

    floor: Vector
    chord: Vector
    curve: Vector
    box: Vector


@dataclass(frozen=True)
class Quadratic:
    """constant + linear.v + curved pairs: the Lagrangian without the box terms.

    linear: (n + m,); cross: (k, n + m) coefficients of zeta_curved * v; curved: (k,) neurons; k may be 0
    """

    constant: float
    linear: Vector
    cross: Matrix
    curved: Indices


def lagrangian(forms: Forms, target: int, multipliers: Multipliers) -> Quadratic:
    """The Lagrangian of the margin to class `target`, in floating point."""
    floor, chord, curve = multipliers.floor, multipliers.chord, multipliers.curve
    half, n = forms.peak / 2, forms.inputs
    # z_i (z_i - p_i) with z_i = h (1 + zeta_i): the factor h of the constant 1 joins the linear terms
    on_rows = floor - chord * forms.slope - curve * half
    combined = forms.margins[target] + on_rows @ forms.rows
    on_outputs = chord - floor + curve * half
    constant = combined[0] + on_outputs @ half - chord @ forms.offset
    linear = combined[1:].copy()
    curved = np.flatnonzero(curve)
    weight = (curve * half)[curved]
    linear[n:] += on_outputs * half
    linear[n + curved] += weight * (half[curved] - forms.rows[curved, 0])
    cross = -weight[:, None] * forms.rows[curved, 1:]
    cross[np.arange(len(curved)), n + curved] += weight * half[curved]
    return Quadratic(float(constant), linear, cross, curved)


def certify(forms: Forms, target: int, multipliers: Multipliers) -> float:
    """Lower bound of the margin to class `target` from any multipliers; -inf where the arithmetic fails."""
    safe = Multipliers(
        np.maximum(multipliers.floor, 0.0), np.maximum(multipliers.chord, 0.0), multipliers.curve, multipliers.box
    )
    if not all(np.isfinite(part).all() for part in (safe.floor, safe.chord, safe.curve, safe.box)):
        return -math.inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bound = _bound(forms, target, safe)
    return bound if math.isfinite(bound) else -math.inf


def _bound(forms: Forms, target: int, multipliers: Multipliers) -> float:
    form = lagrangian(forms, target, multipliers)
    curved = forms.inputs + form.curved
    plain = np.ones(len(form.linear), dtype=bool)
    plain[curved] = False
    coupling = np.vstack([form.linear[plain], form.cross[:, plain]])
    square = np.zeros((1 + len(curved), 1 + len(curved)))
    square[1:, 1:] = (form.cross[:, curved] + form.cross[:, curved].T) / 2
    square[0, 1:] = square[1:, 0] = form.linear[curved] / 2
    box = multipliers.box[plain]
    reach = np.abs(coupling).sum(axis=0)
    # a variable that occurs needs a positive multiplier; this one costs little next to its least-cost value reach / 2
    box = np.where(reach > 0, np.maximum(box, 1e-6 * reach), 0.0)
    used = reach > 0
    scaled = coupling[:, used] / (2.0 * np.sqrt(box[used]))
    complement = square - scaled @ scaled.T
    diagonal = np.maximum(multipliers.box[curved], 0.0)
    complement[1:, 1:] += np.diag(diagonal)
    corner, shift = _corner(complement)
    diagonal = diagonal + shift
    complement[1:, 1:] += shift * np.eye(len(curved))
    complement[0, 0] -= corner
    total = form.constant - math.fsum(box) - math.fsum(diagonal) + corner
    size = len(complement)
    magnitude = _magnitude(forms, target, multipliers) + float(np.abs(complement).sum() + box.sum() + diagonal.sum())
    terms = 3 * len(forms.peak) + 40
    rounding = 2.0 * UNIT * terms * (magnitude + abs(corner) + abs(form.constant))
    # scaled has three roundings per entry, squared twice; the sum over all entries is sum_j (sum_i |scaled_ij|)^2
    rounding += 2.0 * UNIT * (used.sum() + 12) * float((np.abs(scaled).sum(axis=0) ** 2).sum())
    return float(total - size * eigenvalue_deficit(complement) - rounding - _form_errors(forms, target, multipliers))


def _corner(complement: Matrix) -> tuple[float, float]:
    """(c, shift): with shift I added to the block of the zeta, c is about the largest corner that keeps the matrix
    positive semidefinite. A guess: `eigenvalue_deficit` judges it."""
    block, side = complement[1:, 1:], complement[1:, 0]
    if not len(side):
        return float(complement[0, 0]), 0.0
    values, vectors = np.linalg.eigh(block)
    scale = max(abs(values[0]), abs(values[-1]), float(np.abs(side).max()), np.finfo(np.float64).tiny)
    shift = max(0.0, 1e-9 * scale - float(values[0]))
    reduced = float(((vectors.T @ side) ** 2 / (values + shift)).sum())
    return float(complement[0, 0]) - reduced, shift


def eigenvalue_deficit(matrix: Matrix) -> float:
    """eta >= 0 with lambda_min(matrix) >= -eta, for a symmetric matrix, proved from an approximate decomposition."""
    values, vectors = np.linalg.eigh(matrix)
    size = len(values)
    gamma = 2.0 * UNIT * (size + 8)
    scaled = vectors * values
    residual = np.linalg.norm(matrix - scaled @ vectors.T)
    residual += gamma * (np.linalg.norm(np.abs(scaled) @ np.abs(vectors).T) + np.linalg.norm(matrix))
    defect = np.linalg.norm(vectors.T @ vectors - np.eye(size))
    defect += gamma * (np.linalg.norm(np.abs(vectors).T @ np.abs(vectors)) + size)
    return float((max(0.0, -float(values[0])) * (1.0 + defect) + residual) * (1.0 + gamma))


def _magnitude(forms: Forms, target: int, multipliers: Multipliers) -> float:
    """Sum of the magnitudes of all products that make up the Lagrangian's coefficients."""
    size = np.abs(forms.rows).sum(axis=1) + 2.0 * forms.peak + np.abs(forms.offset)
    weight = multipliers.floor + multipliers.chord + np.abs(multipliers.curve) * forms.peak
    return float(np.abs(forms.margins[target]).sum() + weight @ size)


def _form_errors(forms: Forms, target: int, multipliers: Multipliers) -> float:
    """What the errors of the forms can take from the bound, rounded up."""
    weight = multipliers.floor + multipliers.chord * forms.slope + np.abs(multipliers.curve) * forms.peak
    return float((forms.margin_errors[target] + weight @ forms.errors) * (1.0 + 4.0 * UNIT * (len(weight) + 8)))
