"""Lines with open places: sound wherever they touch, on both halves too, and as good as CROWN's where they begin."""

from __future__ import annotations

import math

import pytest
import torch

from sokbench.core.errors import Unsupported
from tests.verifiers.bounds.exact_curves import CASES, intervals, number, points
from verifiers.bounds.optimized.touching import lines_and_halves, touching
from verifiers.bounds.relaxations.curves import curve_lines
from verifiers.bounds.relaxations.shapes import curve_of
from verifiers.graph.elementwise import Elu, Relu, Sigmoid

SMOOTH = sorted(name for name, (op, _) in CASES.items() if curve_of(op) is not None)


@pytest.mark.parametrize("name", SMOOTH)
def test_every_line_is_sound_in_real_arithmetic(name):
    op, exact = CASES[name]
    pairs = [pair for pair in intervals(op, 60, 1) if max(map(abs, pair)) < 1e9]
    both = torch.tensor(pairs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    compared = 0
    for around in lines_and_halves(op, both[None, :, 0], both[None, :, 1]):
        for places in (0.0, 1.0, None):
            shape = (1, 2, len(pairs))
            given = torch.rand(shape, generator=generator).double() if places is None else torch.full(shape, places)
            for above in (False, True):
                slope, offset, _ = around.lines(given.double(), torch.full((1, len(pairs)), above), exact=True)
                for i in range(len(pairs)):
                    low, high = float(around.lower[0, i]), float(around.upper[0, i])
                    a, b = float(slope[0, i]), float(offset[0, i])
                    if math.isnan(a) or math.isnan(b):
                        continue
                    compared += 1
                    for x in points(low, high):
                        y, line = exact(x), number(a) * x + number(b)
                        assert (line >= y) if above else (line <= y), (name, low, high, x, places)
    assert compared > 9 * len(pairs)


@pytest.mark.parametrize("name", SMOOTH)
def test_places_begin_at_the_lines_of_crown(name):
    op, _ = CASES[name]
    pairs = [pair for pair in intervals(op, 60, 2) if 1e-3 < pair[1] - pair[0] < 30.0]
    both = torch.tensor(pairs, dtype=torch.float64)
    around = touching(op, both[None, :, 0], both[None, :, 1])
    crown = curve_lines(op, both[None, :, 0], both[None, :, 1])
    for above, wanted in ((False, crown.lower_slope), (True, crown.upper_slope)):
        slope, _, _ = around.lines(around.begin, torch.full_like(wanted, above).bool(), exact=False)
        known = ~slope.isnan() & ~wanted.isnan()
        assert torch.allclose(slope[known], wanted[known], rtol=1e-2, atol=1e-2)


def test_halves_cover_the_interval_and_meet():
    lower, upper = torch.tensor([[-2.0, 1.0, -5.0]]).double(), torch.tensor([[3.0, 4.0, -1.0]]).double()
    whole, below, beyond = lines_and_halves(Sigmoid(), lower, upper)
    assert torch.equal(below.lower, whole.lower)
    assert torch.equal(beyond.upper, whole.upper)
    assert torch.equal(below.upper, beyond.lower)
    assert below.upper.tolist() == [[0.0, 1.75, -2.0]]


def test_curves_with_a_kink_keep_their_lines():
    """SELU has slope 1.67 left of 0 and 1 right of it: a tangent there could take the one for the other."""
    assert not touching(Elu(1.67), torch.tensor([[-1.25]]).double(), torch.ones(1, 1).double()).free.any()


def test_multipliers_never_raise_what_they_are_added_to():
    around = touching(Sigmoid(), torch.tensor([[-1.0, 0.5]]).double(), torch.tensor([[2.0, 0.75]]).double())
    gamma = torch.tensor([[1.5, -2.0], [-0.5, 0.25]]).double()
    for share in torch.linspace(0, 1, 11):
        z = around.lower + share * (around.upper - around.lower)
        assert ((gamma * z).sum(dim=1) - around.furthest(gamma) <= 1e-12).all()


def test_relu_has_no_tangents():
    with pytest.raises(Unsupported, match="no tangents"):
        touching(Relu(), torch.zeros(1, 1), torch.ones(1, 1))
