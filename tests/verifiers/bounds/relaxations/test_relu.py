"""Relaxations are sound pointwise, in real arithmetic, on every kind of interval."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from verifiers.bounds.relaxations.relu import (
    ADAPTIVE,
    ADAPTIVE_TIE_ZERO,
    INTERVAL,
    ONE,
    PARALLEL,
    ZERO,
    Relaxation,
    relu_zero,
)

ALL = [ADAPTIVE, ADAPTIVE_TIE_ZERO, ZERO, ONE, PARALLEL, INTERVAL]
FINITE = st.floats(-1e200, 1e200, allow_nan=False)


@pytest.mark.parametrize("relaxation", ALL, ids=lambda r: r.name)
@given(ends=st.tuples(FINITE, FINITE), place=st.floats(0, 1))
@example(ends=(-1e-320, 1e-320), place=1.0)
@example(ends=(-1e-310, 1e200), place=0.0)
@example(ends=(-1e200, 1e-310), place=1.0)
@example(ends=(-0.0, 0.0), place=0.5)
@example(ends=(-3.0, -3.0), place=0.5)
@example(ends=(-1.0, 3.0000000000000004), place=1.0)
@example(ends=(5e-324, 5e-324), place=0.5)
def test_lines_enclose_relu_exactly(relaxation: Relaxation, ends: tuple[float, float], place: float) -> None:
    lower, upper = min(ends), max(ends)
    lines = relaxation.relu(*(torch.tensor([[end]], dtype=torch.float64) for end in (lower, upper)))
    a, b, c, d = (Fraction(line.item()) for line in lines)
    inside = Fraction(lower) + (Fraction(upper) - Fraction(lower)) * Fraction(place)
    for z in (Fraction(lower), Fraction(upper), inside, min(max(Fraction(0), Fraction(lower)), Fraction(upper))):
        assert a * z + b <= max(z, 0) <= c * z + d
    if relaxation.parallel:
        assert a == c
    if relaxation.flat:
        assert a == c == 0


def line(relaxation: Relaxation, lower: float, upper: float) -> list[float]:
    ends = (torch.tensor([[end]], dtype=torch.float64) for end in (lower, upper))
    return [part.item() for part in relaxation.relu(*ends)]


def test_slopes_of_the_papers() -> None:
    assert line(ADAPTIVE, -1.0, 2.0)[0] == 1.0
    assert line(ADAPTIVE, -2.0, 1.0)[0] == 0.0
    assert line(ADAPTIVE, -1.0, 1.0)[0] == 1.0
    assert line(ADAPTIVE_TIE_ZERO, -1.0, 1.0)[0] == 0.0
    assert line(ADAPTIVE_TIE_ZERO, -1.0, 2.0)[0] == 1.0
    assert line(PARALLEL, -1.0, 3.0)[0] == line(PARALLEL, -1.0, 3.0)[2] == 0.75
    assert line(ONE, -3.0, 1.0)[0] == 1.0
    assert line(ZERO, -1.0, 3.0)[3] == pytest.approx(0.75, rel=1e-14)
    assert line(INTERVAL, -1.0, 3.0) == [0.0, 0.0, 0.0, 3.0]


@pytest.mark.parametrize("relaxation", ALL[:-1], ids=lambda r: r.name)
def test_stable_neurons_are_exact(relaxation: Relaxation) -> None:
    for ends in ((0.5, 2.0), (0.0, 2.0)):
        assert line(relaxation, *ends) == [1.0, 0.0, 1.0, pytest.approx(0.0, abs=1e-300)]
    for ends in ((-2.0, -0.5), (-2.0, 0.0)):
        assert line(relaxation, *ends) == [0.0, 0.0, 0.0, pytest.approx(0.0, abs=1e-300)]


def test_unknown_bounds_never_give_a_line() -> None:
    for ends in ((float("nan"), 1.0), (-1.0, float("nan")), (float("-inf"), float("inf"))):
        lower, upper = (torch.tensor([[end]], dtype=torch.float64) for end in ends)
        assert relu_zero(lower, upper).upper_offset.isnan().all()


def test_float32_lines_are_sound_too() -> None:
    generator = torch.Generator().manual_seed(0)
    lower = -torch.rand(10_000, generator=generator) * 10 ** torch.randint(-6, 6, (10_000,), generator=generator)
    upper = torch.rand(10_000, generator=generator)
    _, _, slope, offset = (part.double() for part in relu_zero(lower, upper))
    assert bool((slope * lower.double() + offset >= 0).all())
    assert bool((slope * upper.double() + offset >= upper.double()).all())
