"""Bounds of activations: sound in real arithmetic on every kind of interval, and as tight as they can be."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.verifiers.bounds.exact_curves import ARITHMETIC, CASES, Exact, intervals, number, points
from verifiers.bounds.relaxations.curves import curve_interval, curve_lines, settled
from verifiers.bounds.relaxations.relu import (
    ADAPTIVE,
    ADAPTIVE_TIE_ZERO,
    HYBRID,
    ONE,
    PARALLEL,
    ZERO,
    Relaxation,
)
from verifiers.graph.elementwise import (
    Abs,
    Clamp,
    Elementwise,
    Elu,
    Exp,
    LeakyRelu,
    Log,
    Reciprocal,
    Relu,
    Sigmoid,
    Softplus,
    Sqrt,
    Square,
    Tanh,
)

NAMES = sorted(CASES)


def columns(pairs: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    both = torch.tensor(pairs, dtype=torch.float64)
    return both[:, 0], both[:, 1]


def assert_sound(name: str, pairs: list[tuple[float, float]], relaxation: Relaxation = ADAPTIVE) -> int:
    """Compare lines and range with the exact activation; returns how many lines were compared."""
    op, exact = CASES[name]
    lower, upper = columns(pairs)
    lines, image = curve_lines(op, lower, upper, relaxation), curve_interval(op, lower, upper)
    compared = 0
    for i, (low, high) in enumerate(pairs):
        below, b, above, d, least, most = (part[i].item() for part in (*lines, *image))
        for x in points(low, high):
            if isinstance(op, Log) and x == 0:
                continue
            y = exact(x)
            assert not y < least, (name, low, high, x)
            assert not y > most, (name, low, high, x)
            assert math.isnan(b) or number(below) * x + number(b) <= y, (name, low, high, x)
            assert math.isnan(d) or number(above) * x + number(d) >= y, (name, low, high, x)
        compared += not math.isnan(b) and not math.isnan(d)
        if relaxation.parallel:
            assert below == above or (math.isnan(below) or math.isnan(above))
    return compared


@pytest.mark.parametrize("name", NAMES)
def test_lines_and_ranges_are_sound(name: str) -> None:
    compared = assert_sound(name, intervals(CASES[name][0], 60, seed=1))
    assert compared >= 40


@pytest.mark.parametrize("name", NAMES)
def test_parallel_lines_are_sound(name: str) -> None:
    assert assert_sound(name, intervals(CASES[name][0], 30, seed=2), PARALLEL) >= 20


@pytest.mark.parametrize("name", ["leaky_relu", "leaky_relu_steep", "abs"])
@pytest.mark.parametrize("relaxation", [ADAPTIVE_TIE_ZERO, ZERO, ONE, HYBRID], ids=lambda r: r.name)
def test_named_variants_are_sound(name: str, relaxation: Relaxation) -> None:
    pairs = [(-2.0, 1.0), (-1.0, 3.0), (-1e-310, 1e200), (-1e200, 5e-324), (-1.0, 1.0), (0.0, 0.0), (-3.0, -1.0)]
    assert assert_sound(name, pairs, relaxation) == len(pairs)


@pytest.mark.parametrize("name", NAMES)
def test_ordinary_intervals_always_have_lines(name: str) -> None:
    op = CASES[name][0]
    pairs = [pair for pair in intervals(op, 600, seed=3) if 1e-6 < max(map(abs, pair)) < 100]
    if isinstance(op, (Log, Reciprocal)):
        pairs = [pair for pair in pairs if min(map(abs, pair)) > 1e-100]
    lower, upper = columns(pairs)
    assert len(lower) > 200
    assert all(bool(part.isfinite().all()) for part in curve_lines(op, lower, upper))


def least_gap(exact: Exact, slope: float, offset: float, low: float, high: float, sign: int) -> Exact:
    """The least of sign (f(x) - line(x)), by a grid and golden section around its best cell."""

    def gap(x: Exact) -> Exact:
        return sign * (exact(x) - number(slope) * x - number(offset))

    grid = [number(low) + (number(high) - number(low)) * k / 80 for k in range(81)]
    values = [gap(x) for x in grid]
    at = min(range(81), key=values.__getitem__)
    left, right = grid[max(at - 1, 0)], grid[min(at + 1, 80)]
    ratio = (ARITHMETIC.sqrt(5) - 1) / 2
    for _ in range(36):
        a, b = right - ratio * (right - left), left + ratio * (right - left)
        left, right = (left, b) if gap(a) < gap(b) else (a, right)
    return min(*values, gap(left))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relaxation", [ADAPTIVE, PARALLEL], ids=lambda r: r.name)
def test_lines_touch_the_curve(name: str, relaxation: Relaxation) -> None:
    """Within 1e-9 of the largest value; torch's softplus is not smooth to 1e-9 beyond 20."""
    op, exact = CASES[name]
    pairs = [(-3.0, 2.0), (-1.5, 4.0), (-0.3, 0.4), (-6.0, 0.5), (0.3, 2.5), (-4.0, -0.2), (-2.0, -1.9), (1.0, 1.0)]
    if isinstance(op, (Log, Sqrt, Reciprocal)):
        pairs = [(0.3, 2.5), (0.01, 5.0), (1.0, 1.0), (2.0, 2.01)]
    lines = curve_lines(op, *columns(pairs), relaxation)
    for i, (low, high) in enumerate(pairs):
        below, b, above, d = (part[i].item() for part in lines)
        scale = max(abs(exact(number(x))) for x in (low, high)) + number(1e-3)
        assert 0 <= least_gap(exact, below, b, low, high, 1) <= 1e-9 * scale, (low, high)
        assert 0 <= least_gap(exact, above, d, low, high, -1) <= 1e-9 * scale, (low, high)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "exp"])
def test_lines_leave_the_least_area(name: str) -> None:
    """The area below a line is its value at the centre: no line does better than the chords around it."""
    op = CASES[name][0]
    ends = [(-3.0, 2.0), (-1.5, 4.0), (-0.3, 0.4), (-6.0, 0.5), (-0.2, 6.0), (-5.0, 5.0), (0.3, 2.5), (-4.0, -0.2)]
    if isinstance(op, (Log, Sqrt, Reciprocal)):
        ends = [(0.3, 2.5), (0.01, 5.0), (2.0, 2.01)]
    lines = curve_lines(op, *columns(ends))
    for i, (low, high) in enumerate(ends):
        centre = (low + high) / 2
        x = np.unique([*np.linspace(low, high, 801), *np.clip([-1.0, 0.0, 0.5, centre], low, high)])
        y = op.apply(torch.tensor(x)).numpy()
        left, right = np.flatnonzero(x < centre)[:, None], np.flatnonzero(x >= centre)
        heights = y[left] + (y[right] - y[left]) * (centre - x[left]) / (x[right] - x[left])
        ours = [lines[k][i].item() * centre + lines[k + 1][i].item() for k in (0, 2)]
        scale = np.abs(y).max()
        assert ours[0] == pytest.approx(heights.min(), abs=1e-4 * scale), (low, high)
        assert ours[1] == pytest.approx(heights.max(), abs=1e-4 * scale), (low, high)


def test_exp_stays_positive_from_below() -> None:
    lower, upper = columns([(-3.0, 2.0), (-50.0, 4.0), (0.0, 0.5)])
    lines = curve_lines(Exp(), lower, upper)
    assert bool((lines.lower_slope * lower + lines.lower_offset > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_unknown_bounds_never_give_a_wrong_line(name: str) -> None:
    """NaN: nothing is known of that end. At most a constant can follow from the other one."""
    op, exact = CASES[name]
    nan = math.nan
    lines = curve_lines(op, *columns([(0.5, nan), (nan, nan)]))
    assert all(math.isnan(part[1].item()) for part in lines)
    assert not bool(settled(op, *columns([(nan, nan)])).any())
    below, b, above, d = (part[0].item() for part in lines)
    for x in (0.5, 1.0, 3.0, 1e30):
        y = exact(number(x))
        assert math.isnan(b) or (below == 0 and b <= y)
        assert math.isnan(d) or (above == 0 and d >= y)


@pytest.mark.parametrize("op", [Log(), Sqrt(), Reciprocal()], ids=lambda op: op.name)
def test_outside_the_domain_nothing_is_known(op: Elementwise) -> None:
    pairs = columns([(-1.0, 2.0), (-1e-320, 1.0)])
    assert all(bool(part.isnan().all()) for part in (*curve_lines(op, *pairs), *curve_interval(op, *pairs)))


@pytest.mark.parametrize("op", [Log(), Reciprocal()], ids=lambda op: op.name)
def test_poles_have_no_line(op: Elementwise) -> None:
    assert bool(curve_lines(op, *columns([(0.0, 1.0)])).lower_offset.isnan().all())


def test_infinite_bounds_give_flat_lines_where_the_range_is_finite() -> None:
    lines = curve_lines(Sigmoid(), *columns([(-math.inf, math.inf)]))
    assert [part.item() for part in lines] == [0.0, 0.0, 0.0, 1.0]


def test_softplus_covers_what_torch_computes() -> None:
    """Beyond 20 torch returns x, which is below log(1 + e^x)."""
    lower, upper = columns([(19.0, 25.0), (20.0, 20.5), (-5.0, 30.0)])
    lines, image = curve_lines(Softplus(), lower, upper), curve_interval(Softplus(), lower, upper)
    for fraction in torch.linspace(0, 1, 101, dtype=torch.float64):
        x = lower + fraction * (upper - lower)
        y = Softplus().apply(x)
        assert bool((lines.lower_slope * x + lines.lower_offset <= y).all())
        assert bool((image.lower <= y).all())


def test_settled() -> None:
    inside = columns([(0.5, 2.0), (-2.0, -0.5), (-1.0, 1.0), (-3.0, -2.0), (0.2, 0.4), (1.0, 1.0)])
    assert settled(LeakyRelu(0.1), *inside).tolist() == [True, True, False, True, True, True]
    assert settled(Abs(), *inside).tolist() == [True, True, False, True, True, True]
    assert settled(Clamp(-1.0, 0.45), *inside).tolist() == [True, False, False, True, True, True]
    assert settled(Tanh(), *inside).tolist() == [False, False, False, False, False, True]
    assert settled(Sigmoid(), *columns([(50.0, 1e6), (0.0, 50.0)])).tolist() == [True, False]


def test_affine_parts_are_exact() -> None:
    for op, pair, expected in [
        (LeakyRelu(0.01), (-2.0, -1.0), [0.01, 0.0]),
        (LeakyRelu(0.01), (1.0, 2.0), [1.0, 0.0]),
        (Abs(), (-3.0, -0.1), [-1.0, 0.0]),
        (Clamp(-1.0, 0.5), (-0.7, 0.2), [1.0, 0.0]),
        (Clamp(-1.0, 0.5), (0.6, 7.0), [0.0, 0.5]),
    ]:
        assert [part.item() for part in curve_lines(op, *columns([pair]))] == expected * 2


def test_leaky_relu_with_slope_zero_is_relu() -> None:
    lower, upper = columns([(-2.0, 1.0), (-1.0, 1.0), (-1.0, 3.0), (-2.0, -1.0), (1.0, 2.0)])
    for relaxation in (ADAPTIVE, ADAPTIVE_TIE_ZERO, ZERO, ONE, PARALLEL):
        ours, relu = curve_lines(LeakyRelu(0.0), lower, upper, relaxation), relaxation.relu(lower, upper)
        assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(ours, relu, strict=True))


def test_steep_elu_touches_its_kink() -> None:
    """alpha > 1: the slope falls from alpha to 1 at 0, and the upper line from the left leans on that corner."""
    lines = curve_lines(Elu(2.0), *columns([(-1.0, 0.5)]))
    end = 2 * math.expm1(-1.0)
    assert lines.upper_slope.item() == pytest.approx(-end, rel=1e-9)
    assert lines.upper_offset.item() == pytest.approx(0.0, abs=1e-9)


def test_an_operation_without_bounds_says_so() -> None:
    from sokbench.core.errors import Unsupported

    with pytest.raises(Unsupported, match="elu"):
        curve_lines(Elu(-1.0), *columns([(-1.0, 1.0)]))
    with pytest.raises(Unsupported, match="relu"):
        curve_lines(Relu(), *columns([(-1.0, 1.0)]))


def test_float32_lines_are_sound_too() -> None:
    generator = torch.Generator().manual_seed(0)
    for op in (Sigmoid(), Tanh(), Softplus(), Square(), Elu()):
        lower = 3 * torch.randn(2000, generator=generator)
        upper = lower + torch.rand(2000, generator=generator) * 10 ** torch.randint(-5, 2, (2000,), generator=generator)
        a, b, c, d = (part.double() for part in curve_lines(op, lower, upper))
        for k in range(21):
            x = lower.double() + k / 20 * (upper.double() - lower.double())
            y = op.apply(x)
            assert bool((a * x + b <= y + 1e-15).all())
            assert bool((c * x + d >= y - 1e-15).all())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite(name: str) -> None:
    op = CASES[name][0]
    pairs = [(-3.0, 2.0), (0.5, 2.0), (-2.0, -0.5), (-0.5, 8.0), (1.0, 1.0)]
    if isinstance(op, (Log, Sqrt, Reciprocal)):
        pairs = [(0.5, 2.0), (1.0, 1.0), (0.1, 30.0)]
    lower, upper = (side.clone().requires_grad_() for side in columns(pairs))
    lines, image = curve_lines(op, lower, upper), curve_interval(op, lower, upper)
    sum(part.sum() for part in (*lines, *image)).backward()  # type: ignore[union-attr]
    assert lower.grad is not None
    assert upper.grad is not None
    assert bool(lower.grad.isfinite().all())
    assert bool(upper.grad.isfinite().all())


@pytest.mark.parametrize(
    ("function", "exact", "low", "high"),
    [
        (torch.sigmoid, lambda x: 1 / (1 + ARITHMETIC.exp(-x)), -700.0, 40.0),
        (torch.tanh, ARITHMETIC.tanh, -20.0, 20.0),
        (torch.atan, ARITHMETIC.atan, -30.0, 30.0),
        (torch.exp, ARITHMETIC.exp, -700.0, 700.0),
        (torch.expm1, ARITHMETIC.expm1, -40.0, 10.0),
        (torch.log, ARITHMETIC.log, 1e-3, 3.0),
        (torch.log1p, ARITHMETIC.log1p, 0.0, 1.0),
        (torch.special.erfc, ARITHMETIC.erfc, -6.0, 26.0),
    ],
    ids=["sigmoid", "tanh", "arctan", "exp", "expm1", "log", "log1p", "erfc"],
)
def test_torch_evaluates_within_one_unit(function: Exact, exact: Exact, low: float, high: float) -> None:
    """What `shapes` builds its error terms on; vectorized and one by one, which are different code in torch."""
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(200, dtype=torch.float64, generator=generator)
    small = torch.randn(50, dtype=torch.float64, generator=generator) * 10.0 ** -torch.arange(50)
    x = torch.cat([x, small[(small > low) & (small < high)]])
    values = torch.stack([function(x), torch.stack([function(one.reshape(1))[0] for one in x])])
    for row in values.tolist():
        for at, value in zip(x.tolist(), row, strict=True):
            truth = exact(number(at))
            assert abs(number(value) - truth) <= number(2.0**-52) * abs(truth), at


def test_mpmath_is_precise_enough() -> None:
    assert ARITHMETIC.prec >= 200
    assert mp.mp.prec == 53  # the tests use a context of their own
