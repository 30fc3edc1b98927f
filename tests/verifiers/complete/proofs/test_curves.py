"""The checker's arithmetic of smooth activations, and proofs with them: never more than what is true."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.outcome import Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import hostile
from tests.verifiers.complete.planted import PEAK, WIDTH, sigmoid_bump
from tests.verifiers.complete.proofs.hard_problems import Arctan, hard_problem, read_proof, smooth
from verifiers.complete.proofs.arithmetic import TINY, UNIT, Array, Refused
from verifiers.complete.proofs.check_splits import FORMAT, Checker
from verifiers.complete.proofs.claims import check_proof
from verifiers.complete.proofs.curves import ARCTAN, SIGMOID, TANH
from verifiers.complete.proofs.rows import Rows
from verifiers.complete.proofs.splits import proof_arrays, usual_slopes
from verifiers.complete.proofs.steps import steps_of
from verifiers.complete.search.split_search import SplitSettings
from verifiers.complete.split_decision import Question, decide_rows, question

mp = mpmath.mp.clone()  # a context of its own
mp.dps = 40
FUNCTIONS = {
    "sigmoid": (SIGMOID, lambda x: 1 / (1 + mp.exp(-x))),
    "tanh": (TANH, mp.tanh),
    "arctan": (ARCTAN, mp.atan),
}
real = st.floats(-50, 50) | st.floats(-1e-3, 1e-3) | st.floats(-1e12, 1e12)


def exactly(values: Array) -> list[Any]:
    return [mp.mpf(value) for value in values.tolist()]


@pytest.mark.parametrize("name", ["tanh", "arctan"])
def test_own_functions_err_less_than_they_say(name):
    curve, function = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=400) * 10.0 ** rng.uniform(-9, 2, 400), [0.0, 20.0, -20.0, 1e300, -1e17]])
    values = curve._value(x)
    slopes = curve._slope(x, values)
    for at, value, slope in zip(exactly(x), exactly(values), exactly(slopes), strict=True):
        rise = 1 - mp.tanh(at) ** 2 if name == "tanh" else 1 / (1 + at**2)
        assert abs(value - function(at)) <= 96 * UNIT
        assert abs(slope - rise) <= 96 * UNIT


@pytest.mark.parametrize("name", ["tanh", "arctan"])
def test_least_of_a_slope(name):
    curve, _ = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    slopes = np.concatenate([rng.uniform(size=200), 10.0 ** rng.uniform(-30, 0, 200), [0.0, 1.0, 1 - UNIT, 1e-300]])
    for slope, found in zip(exactly(slopes), exactly(curve._least(slopes)), strict=True):
        sine = mp.sqrt(1 - slope)
        if name == "tanh":
            least = (slope * mp.atanh(sine) if slope > 1e-35 else 0) - sine
        else:
            least = mp.sqrt(slope) * sine - mp.acos(mp.sqrt(slope))
        assert abs(found - least) <= 96 * UNIT


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(
    ends=st.tuples(real, real),
    slope=st.floats(0, 1) | st.floats(),
    row=st.sampled_from([-1.0, 1.0]) | st.floats(-1e6, 1e6),
)
def test_lines_hold_in_exact_arithmetic(name, ends, slope, row):
    """Of any slope, at the ends, between them, and where the slope of the function is that of the line."""
    curve, function = FUNCTIONS[name]
    lower, upper = np.array([[min(ends)]]), np.array([[max(ends)]])
    sides, size = [np.array([[slope]])] * 2, np.maximum(np.abs(lower), np.abs(upper))[0]
    passed, added, error = curve.through(np.array([[row]]), lower, upper, sides, size)
    used = abs(float(passed[0, 0]) / row / (curve.rate * curve.scale)) if row else 1.0
    angle = np.arctanh(np.sqrt(1 - min(used, 1.0))) if curve.hyperbolic else np.sqrt(1 / max(used, 1e-300) - 1)
    points = [*np.linspace(lower[0, 0], upper[0, 0], 9), angle / curve.rate, -angle / curve.rate]
    line, constant, lost = mp.mpf(passed[0, 0]), mp.mpf(added[0]), mp.mpf(error[0])
    if abs(row) == 1 and not curve.shift:  # nothing is rounded but the offset, which is to hold as it is
        lost = mp.mpf(0)
    for point in points:
        x = mp.mpf(min(max(point, lower[0, 0]), upper[0, 0]))
        assert mp.mpf(row) * function(x) >= line * x + constant - lost - TINY
    low, high = curve.interval(lower, upper)
    assert low[0, 0] <= function(mp.mpf(lower[0, 0]))
    assert function(mp.mpf(upper[0, 0])) <= high[0, 0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lines_are_as_close_as_their_slopes_allow(name):
    curve, _ = FUNCTIONS[name]
    function = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "arctan": torch.atan}[name]
    rng = np.random.default_rng(2)
    count = 200
    lower = rng.normal(scale=3, size=(1, count))
    upper = lower + rng.exponential(scale=3, size=(1, count))
    slopes = rng.uniform(size=(1, count)) ** 3 * curve.rate * curve.scale
    x = lower + (upper - lower) * np.linspace(0, 1, 4001)[:, None]
    above_line = function(torch.tensor(x)).numpy() - slopes * x
    best = np.where(rng.random((1, count)) < 0.5, 1.0, -1.0)
    for entry in range(count):
        row = np.zeros((1, count))
        row[0, entry] = sign = best[0, entry]
        _, added, error = curve.through(row, lower, upper, [slopes, slopes], np.ones(count))
        least = (sign * above_line[:, entry]).min()
        assert least - (upper - lower)[0, entry] ** 2 * 1e-7 - 1e-11 <= added[0] <= least + 1e-12
        assert error[0] < 1e-12


def proof_of(problem: Problem, options: SplitSettings, limit: float) -> tuple[dict[str, Array], float] | None:
    """(proof, the search's margin) of a problem, None where it was not proved."""
    found = []
    with torch.no_grad():
        asked = question(problem, Deadline(), always=True)
        if not isinstance(asked, Question):
            return None
        usual = usual_slopes(asked.relaxed)
        outcome = decide_rows(asked, options, Deadline.after(limit), found.append)
    return (proof_arrays(problem, asked, found[0], usual), float(outcome.margin)) if found else None


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["sigmoid", "tanh", "arctan", "tanh relu", "relu arctan"]), seed=st.integers(0, 99),
    share=st.floats(0.01, 0.3), norm=st.sampled_from(["linf", "l1"]), often=st.booleans(),
)  # fmt: skip
def test_what_is_proved_is_accepted_and_nothing_beyond_it(name, seed, share, norm, often):
    """Claims moved so far that a sampled point refutes them are refused, with the multipliers of the search."""
    network, x = load_network(smooth(name, seed), (4,)), torch.linspace(-0.5, 0.5, 4)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball(norm, share * (3 if norm == "l1" else 1)))
    options = SplitSettings(batch=2, patience=4, most=1) if often else SplitSettings(batch=8)
    made = proof_of(problem, options, 0.5)
    if made is None:
        return
    arrays, margin = made
    assert check_proof(arrays, network).margin == pytest.approx(margin, abs=1e-5)
    rng = np.random.default_rng(seed)
    moves = rng.exponential(size=(2000, 4)) * rng.choice([-1.0, 1.0], size=(2000, 4))
    size = np.abs(moves).sum(axis=1) if norm == "l1" else np.abs(moves).max(axis=1)
    points = x.double() + torch.tensor(problem.ball.radius * moves / size[:, None])
    with torch.no_grad():
        logits = network.module.double()(points).numpy()
    network.module.float()
    values = logits @ arrays["rows"].T + arrays["offsets"]
    assert margin <= values.min()
    for row in range(len(arrays["rows"])):
        offsets = arrays["offsets"].copy()
        offsets[row] -= values[:, row].min() + 1e-9
        with pytest.raises(Refused, match="the bound is"):
            check_proof({**arrays, "offsets": offsets}, network)


def test_a_narrow_bump_is_not_proved_away():
    """Multipliers that prove the margin plus 0.6 positive do not prove the margin, which is negative at the peak."""
    network = load_network(sigmoid_bump(), (2,))
    problem = Problem(network, torch.tensor([PEAK - 0.2, 0.5]), 0, Ball("linf", 0.2 - 4 * WIDTH, 0.0, 1.0))
    made = proof_of(problem, SplitSettings(), 5.0)
    assert made is not None
    arrays, _ = made
    assert check_proof(arrays, network).margin > 0.4
    for part, end in (("upper", PEAK), ("lower", PEAK - 0.5)):
        wider = {**arrays, part: np.where(np.arange(2) == 0, end, arrays[part])}
        if part == "upper":
            with pytest.raises(Refused, match="the bound is"):
                check_proof(wider, network)
        else:
            assert check_proof(wider, network).margin > 0.4


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_another_activation_is_refused(name, tmp_path):
    problem = hard_problem(name)
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    (path,) = tmp_path.iterdir()
    swapped = nn.Sigmoid() if name == "tanh" else nn.Tanh()
    modules = [swapped if isinstance(part, nn.Tanh | nn.Sigmoid) else part for part in problem.network.module]
    other = load_network(nn.Sequential(*modules), (4,))
    with pytest.raises(Refused, match="about the network"):
        check_proof(read_proof(path), other)
    with pytest.raises(Refused, match="the bound is"):
        check_proof({**read_proof(path), "network": np.array(other.sha256)}, other)


def test_intervals_are_close():
    x = np.array([-3.0, 0.0, 2.0])
    low, high = SIGMOID.interval(x, x)
    assert (low < torch.sigmoid(torch.tensor(x)).numpy()).all()
    assert (high - low < 1e-13).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "arctan"])
def test_weights_of_all_sizes(name):
    """Bounds by random slopes, where sums cancel and activations saturate, against 150 digits."""
    kind = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "arctan": Arctan}[name]
    for seed in range(25):
        module, x = hostile(seed)
        module = nn.Sequential(*(kind() if isinstance(part, nn.ReLU) else part for part in module)).float()
        low, high = x[0].numpy() - 2.0**-6, x[0].numpy() + 2.0**-6
        if seed % 2:  # nothing but the constants counts, and how they are added
            module[-1].weight.data *= 2.0**-100
        network, rng = load_network(module, (2,)), np.random.default_rng(seed)
        nothing = np.zeros(0, dtype=np.int64)
        arrays = {
            "format": np.array(FORMAT), "lower": low, "upper": high, "rows": rng.normal(size=(1, 2)),
            "offsets": np.zeros(1), "columns_layer": nothing, "columns_neuron": nothing, "columns_cut": nothing,
        }  # fmt: skip
        for layer in range(2):
            arrays |= {f"neurons{layer}": np.arange(3), f"usual{layer}": rng.uniform(size=(2, 3)) ** 9}
        checker = Checker(steps_of(network), arrays)
        part = checker._state((), 0, {})
        given = checker._given(part, "leaf", np.arange(1), checker._intervals(part))
        bound = float(checker._below(Rows.full(arrays["rows"]), np.zeros(1), 5, part, given)[0])
        for point in np.stack([low, high, x[0].numpy(), rng.uniform(low, high)]):
            assert bound <= exactly_at(module, point, FUNCTIONS[name][1], arrays["rows"][0])


def exactly_at(module: nn.Sequential, point: Array, function: Any, row: Array) -> Any:
    """row @ f(point) with 150 digits."""
    with mp.workdps(150):
        values = exactly(point)
        for part in module:
            if isinstance(part, nn.Linear):
                weight, bias = part.weight.detach().double().numpy(), part.bias.detach().double().numpy()
                values = [
                    mp.fdot(exactly(row), values) + mp.mpf(constant)
                    for row, constant in zip(weight, bias.tolist(), strict=True)
                ]
            else:
                values = [function(value) for value in values]
        return mp.fdot(exactly(row), values)
