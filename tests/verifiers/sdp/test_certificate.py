"""Certified bounds hold for any multipliers; the eigenvalue bound is checked in rational arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifiers.lp.nets import exact_minimum
from tests.verifiers.sdp.test_forms import problem
from verifiers.sdp import certificate
from verifiers.sdp.certificate import Multipliers, certify, eigenvalue_deficit, lagrangian
from verifiers.sdp.forms import eliminate_stable
from verifiers.sdp.interior_point import DualProblem


def is_positive_semidefinite(matrix: list[list[Fraction]]) -> bool:
    """By symmetric elimination in rational arithmetic."""
    size = len(matrix)
    for k in range(size):
        pivot = matrix[k][k]
        if pivot < 0 or (pivot == 0 and any(matrix[k][j] != 0 for j in range(k, size))):
            return False
        if pivot == 0:
            continue
        for i in range(k + 1, size):
            factor = matrix[i][k] / pivot
            for j in range(k, size):
                matrix[i][j] -= factor * matrix[k][j]
    return True


@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([1e-8, 1.0, 1e8]), st.booleans())
@settings(max_examples=60)
def test_the_deficit_bounds_the_least_eigenvalue(size, seed, scale, singular):
    rng = np.random.default_rng(seed)
    half = scale * rng.normal(size=(size, max(1, size - 1) if singular else size))
    matrix = half @ half.T if singular else (half + half.T) / 2
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    deficit = eigenvalue_deficit(matrix)
    shifted = [[Fraction(value) for value in row] for row in matrix]
    for i in range(size):
        shifted[i][i] += Fraction(deficit)
    assert is_positive_semidefinite(shifted)
    least = float(np.linalg.eigvalsh(matrix)[0])
    assert deficit <= max(0.0, -least) + 1e-12 * np.abs(matrix).max() * size


@pytest.mark.parametrize("seed", range(6))
def test_random_multipliers_never_pass_the_optimum(seed):
    layers, inputs, spans = problem(seed, (3, 4, 3, 3))
    forms = eliminate_stable(layers, inputs, spans, 0)
    m = len(forms.peak)
    rng = np.random.default_rng(seed)
    for other in (1, 2):
        exact, _ = exact_minimum(layers, inputs, np.eye(3)[0] - np.eye(3)[other])
        for _ in range(100):
            size = 10.0 ** rng.uniform(-3, 2)
            multipliers = Multipliers(
                size * rng.random(m),
                size * rng.random(m),
                size * rng.normal(size=m) * (rng.random(m) < 0.7),
                10.0 ** rng.uniform(-3, 2) * rng.random(3 + m),
            )
            assert certify(forms, other, multipliers) <= exact + 1e-9


@pytest.mark.parametrize(("higher", "shift"), [(1.0, 0.0), (100.0, 0.0), (0.0, 50.0)])
def test_a_wrong_guess_of_the_corner_is_paid_for(monkeypatch, higher, shift):
    """Whatever corner and shift are guessed, the proof accounts for them."""

    def guess(complement):
        shifted = complement[1:, 1:] + shift * np.eye(len(complement) - 1)
        reduced = complement[0, 1:] @ np.linalg.solve(shifted, complement[1:, 0])
        return float(complement[0, 0] - reduced) + higher, shift

    layers, inputs, spans = problem(4, (3, 5, 4, 3), radius=0.6)
    forms = eliminate_stable(layers, inputs, spans, 0)
    m = len(forms.peak)
    exact, _ = exact_minimum(layers, inputs, np.array([1.0, -1.0, 0.0]))
    nothing = np.zeros(m)
    path = DualProblem(forms, 1, Multipliers(nothing, nothing, nothing, np.zeros(3 + m)), np.arange(m)).solve(5.0)
    multipliers = [found for found, _ in itertools.islice(path, 10)][-1]
    assert certify(forms, 1, multipliers) > exact - 1.0
    monkeypatch.setattr(certificate, "_corner", guess)
    assert certify(forms, 1, multipliers) <= exact


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_multipliers_give_no_bound(bad):
    layers, inputs, spans = problem(0)
    forms = eliminate_stable(layers, inputs, spans, 0)
    m = len(forms.peak)
    multipliers = Multipliers(np.full(m, bad), np.zeros(m), np.zeros(m), np.ones(3 + m))
    assert certify(forms, 1, multipliers) == -np.inf


def test_negative_multipliers_are_clipped():
    layers, inputs, spans = problem(1, (3, 4, 3, 3))
    forms = eliminate_stable(layers, inputs, spans, 0)
    m = len(forms.peak)
    exact, _ = exact_minimum(layers, inputs, np.array([1.0, -1.0, 0.0]))
    negative = Multipliers(np.full(m, -1e3), np.full(m, -1e3), np.zeros(m), np.full(3 + m, -1e3))
    assert certify(forms, 1, negative) <= exact + 1e-9


def test_the_lagrangian_is_the_stated_sum():
    layers, inputs, spans = problem(2)
    forms = eliminate_stable(layers, inputs, spans, 0)
    m = len(forms.peak)
    rng = np.random.default_rng(2)
    multipliers = Multipliers(
        rng.random(m), rng.random(m), rng.normal(size=m) * (rng.random(m) < 0.5), rng.random(3 + m)
    )
    found = lagrangian(forms, 1, multipliers)
    for _ in range(20):
        v = rng.uniform(-1, 1, size=3 + m)
        full = np.append(1.0, v)
        p, z = forms.rows @ full, forms.peak / 2 * (1 + v[3:])
        expected = forms.margins[1] @ full + multipliers.floor @ (p - z)
        expected += multipliers.chord @ (z - forms.slope * p - forms.offset) + (multipliers.curve * z) @ (z - p)
        got = found.constant + found.linear @ v + v[3 + found.curved] @ (found.cross @ v)
        assert got == pytest.approx(expected, rel=1e-10, abs=1e-10)
