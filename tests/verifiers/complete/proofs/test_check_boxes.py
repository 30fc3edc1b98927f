"""The checker of input splits: no tree and no slopes show too much, whatever is rounded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sokbench.core.network import Network
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import dense, exact_logits, hostile
from tests.verifiers.complete.proofs.hard_problems import residual
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.check_boxes import FORMAT, BoxChecker
from verifiers.complete.proofs.claims import check_proof
from verifiers.complete.proofs.steps import Matrix, Step, steps_of


def any_proof(network: Network, lower: np.ndarray, upper: np.ndarray, row: np.ndarray, offset: float,
              rng: np.random.Generator, splits: int, cuts: np.ndarray | None = None) -> dict:  # fmt: skip
    """A random tree, the row shown in every leaf by random slopes; cuts: (inputs,), where possible those."""
    boxes, split = [(lower, upper)], []
    ends = [0]
    for _ in range(splits):
        node, column = ends.pop(rng.integers(len(ends))), int(rng.integers(len(lower)))
        low, high = boxes[node]
        cut = rng.uniform(low[column], high[column])
        if cuts is not None and low[column] <= cuts[column] <= high[column]:
            cut = cuts[column]
        below, above = high.copy(), low.copy()
        below[column] = above[column] = cut
        ends += [len(boxes), len(boxes) + 1]
        boxes += [(low, below), (above, high)]
        split.append((node, column, cut))
    widths = [step.width for step in steps_of(network) if step.is_relu]
    # bytes, beyond what is allowed, the ends alone
    least, most, unit = ((0, 256, 1), (-100, 900, 1), (0, 2, 255))[rng.integers(3)]
    slopes = {f"slopes{k}": rng.integers(least, most, (len(ends), width)) * unit for k, width in enumerate(widths)}
    return {
        "format": np.array(FORMAT), "network": np.array(network.sha256), "label": np.array(0),
        "lower": lower, "upper": upper, "rows": row[None], "offsets": np.array([offset]),
        "split_node": np.array([s[0] for s in split], dtype=np.int64),
        "split_input": np.array([s[1] for s in split], dtype=np.int64),
        "split_cut": np.array([s[2] for s in split], dtype=float),
        "proved_node": np.array(ends), "proved_row": np.zeros(len(ends), dtype=np.int64),
        "proved_slopes": rng.integers(-1, len(ends), len(ends)), **slopes,
    }  # fmt: skip


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), splits=st.integers(0, 40), residue=st.booleans())
def test_no_tree_and_no_slopes_show_too_much(seed, splits, residue):
    rng = np.random.default_rng(seed)
    module = residual(seed, inputs=3) if residue else dense([3, 10, 9, 8, 2], seed, 2.0).float()
    network = load_network(module, (3,))
    lower = rng.uniform(-1, 0.5, 3)
    upper = lower + rng.uniform(0, 1, 3) * rng.integers(0, 2, 3)
    row = rng.normal(size=network.num_classes)
    arrays = any_proof(network, lower, upper, row, 1e4, rng, splits)
    points = rng.uniform(lower, upper, (2000, 3))
    points[:64] = np.where(rng.random((64, 3)) < 0.5, lower, upper)
    with torch.no_grad():
        least = float((module.double()(torch.tensor(points)).numpy() @ row).min())
    module.float()
    assert check_proof(arrays, network).margin - 1e4 <= least + 1e-9


@settings(max_examples=90)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["plain", "spread", "cancelling"]))
def test_at_a_point_the_bound_is_below_the_exact_value(seed, kind):
    """No relaxation there, only rounding, and rational arithmetic to compare: also for weights of many orders of
    magnitude, and for biases that cancel what comes in."""
    rng = np.random.default_rng(seed)
    module = (hostile(seed)[0] if kind == "spread" else dense([2, 7, 7, 2], seed, 2.0)).float()
    x = rng.uniform(-1, 1, 2)
    if kind == "cancelling":
        values = torch.tensor(x).float()
        with torch.no_grad():
            for layer in (module[0], module[2]):
                layer.weight *= 1e6
                layer.bias.copy_(torch.rand(7) - layer.weight @ values)
                values = layer(values).relu()
    network = load_network(module, (2,))
    exact = exact_logits(module, torch.tensor(x))
    value = exact[0] - exact[1]
    offset = float(-value)
    for change in (0.0, abs(offset) * 2.0**-52, abs(offset) * 1e-9):
        arrays = any_proof(network, x, x, np.array([1.0, -1.0]), offset + change, rng, 2)
        truth = value + Fraction(offset + change)
        try:
            margin = Fraction(check_proof(arrays, network).margin)
        except Refused:
            continue
        assert 0 < margin <= truth


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 1.0]))
def test_rounding_where_everything_cancels(seed, share):
    """Active neurons whose inputs are small though weights are large, and rows that nearly vanish below them: all that
    is off is what matrix products lose. share: of a sum of both layers' inputs that is added before the last."""
    rng = np.random.default_rng(seed)
    count, x = 9, float(rng.uniform(0.5, 1))
    weight = 1e6 * rng.uniform(0.5, 1, (count, 1))
    bias = rng.uniform(0.5, 1, count) - weight[:, 0] * x
    row = rng.uniform(-1, 1, (1, count))
    row[0, -1] = -(row[0, :-1] @ weight[:-1, 0]) / weight[-1, 0]

    def matrix(values: np.ndarray, shift: np.ndarray) -> Matrix:
        return Matrix(values, np.abs(values), shift, count, 0.0, 0.0)

    below = Step((0,), count, matrix(weight, bias), is_exact=True)
    steps = [Step((), 1), below, Step((1,), count, is_relu=True)]
    if share:
        steps.append(Step((1, 2), count))
    steps.append(Step((len(steps) - 1,), 1, matrix(row, np.zeros(1))))
    hidden = [
        Fraction(w) * Fraction(x) + Fraction(b) for w, b in zip(weight[:, 0].tolist(), bias.tolist(), strict=True)
    ]
    assert min(hidden) > 0
    value = sum(Fraction(r) * h for r, h in zip(row[0].tolist(), hidden, strict=True)) * Fraction(1 + share)
    none, zero, point = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([x])
    offset = float(-value) + 1e-5
    arrays = {
        "format": np.array(FORMAT), "lower": point, "upper": point,
        "rows": np.ones((1, 1)), "offsets": np.array([offset]),
        "split_node": none, "split_input": none, "split_cut": np.zeros(0), "proved_node": zero, "proved_row": zero,
        "proved_slopes": zero - 1, "slopes0": np.zeros((0, count)),
    }  # fmt: skip
    assert 0 < Fraction(BoxChecker(steps, arrays).check().margin) <= value + Fraction(offset)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), splits=st.integers(0, 30), height=st.sampled_from([0.0, 1e-12, -1e-12]))
def test_what_is_false_at_one_point_is_refused(seed, splits, height):
    """|x - p| > 0 is false at p alone, which every tree covers: with cuts anywhere, and through p itself."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.uniform(-1, 1, 2) * 64) / 64
    first, last = nn.Linear(2, 4), nn.Linear(4, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
        first.bias.copy_(torch.tensor([-p[0], p[0], -p[1], p[1]]))
        last.weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4]))
        last.bias.zero_()
    network = load_network(nn.Sequential(first, nn.ReLU(), last), (2,))
    lower, upper = np.full(2, -1.0), np.full(2, 1.0)
    for cuts in (None, p):
        arrays = any_proof(network, lower, upper, np.array([1.0, -1.0]), min(height, 0.0), rng, splits, cuts)
        with pytest.raises(Refused):
            check_proof(arrays, network)


def test_what_is_true_at_that_point_by_a_little_is_accepted():
    """The test above would pass if everything were refused."""
    network = load_network(nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)), (1,))
    with torch.no_grad():
        network.module[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        network.module[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        for layer in (0, 2):
            network.module[layer].bias.zero_()
    network = load_network(network.module, (1,))
    rng, side = np.random.default_rng(0), np.ones(1)
    arrays = any_proof(network, -side, side, np.array([1.0, -1.0]), 1e-9, rng, 1, np.zeros(1))
    assert 0 < check_proof(arrays, network).margin <= 1e-9


@pytest.mark.parametrize("slope", [510, -255, np.nan, np.inf])
def test_slopes_that_no_line_below_has(slope):
    """relu(x) - 2 x is -1 at x = 1; with 2 x for relu(x) it would be 0."""
    first, last = nn.Linear(1, 2), nn.Linear(2, 2)
    with torch.no_grad():
        for layer, weight, bias in (
            (first, [[1.0], [1.0]], [0.0, 1.0]),
            (last, [[1.0, -2.0], [0.0, 0.0]], [2.0, 0.0]),
        ):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    network, side = load_network(nn.Sequential(first, nn.ReLU(), last), (1,)), np.ones(1)
    arrays = any_proof(network, -side, side, np.array([1.0, -1.0]), 0.5, np.random.default_rng(0), 0)
    arrays |= {"slopes0": np.full((1, 2), slope), "proved_slopes": np.zeros(1, dtype=np.int64)}
    with pytest.raises(Refused):
        check_proof(arrays, network)
    right = {**arrays, "slopes0": np.full((1, 2), 255), "offsets": np.array([1.5])}
    assert 0 < check_proof(right, network).margin <= 0.5
