"""Planes around products and maxima: sound in exact arithmetic, and with the least volume."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from verifiers.bounds.relaxations.bivariate import Planes, pair_interval, pair_planes
from verifiers.graph.bivariate import Bivariate, Max, Mul

FINITE = st.one_of(st.floats(-3, 3), st.floats(-1e140, 1e140), st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1e-160]))
ENDS = st.tuples(FINITE, FINITE)
Ends = tuple[float, float]


def interval(ends: Ends) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor([[end]], dtype=torch.float64) for end in sorted(ends))  # type: ignore[return-value]


def flat(planes: Planes) -> list[Fraction]:
    parts = (*planes.lower_slopes, planes.lower_offset, *planes.upper_slopes, planes.upper_offset)
    return [Fraction(part.item()) for part in parts]


@pytest.mark.parametrize("op", [Mul(), Max()], ids=["mul", "max"])
@settings(max_examples=300)
@given(first=ENDS, second=ENDS, places=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@example(first=(-1.0, 1.0), second=(-1.0, 1.0), places=(0.5, 0.5))
@example(first=(1.0, 1.0), second=(1.0, 1.0), places=(0.0, 0.0))
@example(first=(0.1, 0.3), second=(0.3, 0.7), places=(1.0, 0.0))
@example(first=(-1e140, 1e140), second=(5e-324, 1e140), places=(0.3, 1.0))
def test_planes_enclose_exactly(op: Bivariate, first: Ends, second: Ends, places: Ends) -> None:
    exact = max if isinstance(op, Max) else lambda x, y: x * y
    a, b, c, d, e, f = flat(pair_planes(op, interval(first), interval(second)))
    least, most = (Fraction(side.item()) for side in pair_interval(op, interval(first), interval(second)))
    (lx, ux), (ly, uy) = (sorted(map(Fraction, ends)) for ends in (first, second))
    inner = [low + (up - low) * Fraction(at) for (low, up), at in zip(((lx, ux), (ly, uy)), places, strict=True)]
    points = [(x, y) for x in (lx, ux, inner[0]) for y in (ly, uy, inner[1])]
    points += [(x, x) for x in (lx, ux, ly, uy) if lx <= x <= ux and ly <= x <= uy]
    for x, y in points:
        z = exact(x, y)
        assert a * x + b * y + c <= z <= d * x + e * y + f
        assert least <= z <= most


def heights(planes: Planes, x: float, y: float) -> list[float]:
    a, b, c, d, e, f = map(float, flat(planes))
    return [a * x + b * y + c, d * x + e * y + f]


def test_products_are_a_quarter_of_the_widths_off_at_the_centre() -> None:
    for first, second in [((-1.0, 3.0), (2.0, 2.5)), ((-2.0, -1.0), (-3.0, 7.0)), ((0.0, 1.0), (0.0, 1.0))]:
        x, y = (sum(ends) / 2 for ends in (first, second))
        gap = (first[1] - first[0]) * (second[1] - second[0]) / 4
        found = heights(pair_planes(Mul(), interval(first), interval(second)), x, y)
        assert found == pytest.approx([x * y - gap, x * y + gap], abs=1e-12)


def test_a_product_with_a_known_factor_is_linear() -> None:
    assert flat(pair_planes(Mul(), interval((2.0, 2.0)), interval((-1.0, 5.0))))[1::3] == [2, 2]


def test_maxima_have_the_least_volume() -> None:
    """A plane above lies above the chord over the diagonal from (ux, ly) to (lx, uy), and so at the centre."""
    for first, second in [((-1.0, 3.0), (0.0, 2.0)), ((-2.0, 1.0), (-3.0, 7.0)), ((0.0, 1.0), (0.0, 1.0))]:
        (lx, ux), (ly, uy) = first, second
        x, y = (lx + ux) / 2, (ly + uy) / 2
        low, high = heights(pair_planes(Max(), interval(first), interval(second)), x, y)
        assert low == max(x, y)
        assert high == pytest.approx((max(ux, ly) + max(lx, uy)) / 2, abs=1e-12)


def test_a_maximum_that_is_decided_is_exact() -> None:
    for first, second, slopes in [((1.0, 2.0), (-1.0, 1.0), [1, 0]), ((-5.0, 0.5), (0.5, 2.0), [0, 1])]:
        assert flat(pair_planes(Max(), interval(first), interval(second))) == [*slopes, 0, *slopes, 0]


@pytest.mark.parametrize("op", [Mul(), Max()], ids=["mul", "max"])
def test_unknown_bounds_give_no_plane(op: Bivariate) -> None:
    for unknown in ((math.nan, 1.0), (0.0, math.nan)):
        ends = tuple(torch.tensor([end], dtype=torch.float64) for end in unknown)
        for pair in ((ends, interval((0.0, 1.0))), (interval((-3.0, 1.0)), ends)):
            planes = pair_planes(op, *pair)  # type: ignore[arg-type]
            assert bool(planes.lower_offset.isnan().all())
            assert bool(planes.upper_offset.isnan().all())
