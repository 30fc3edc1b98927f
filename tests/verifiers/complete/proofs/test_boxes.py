"""Proofs of input splitting: accepted as written, refused when tampered with, never accepted for what is false."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sokbench
from sokbench.cli import cli
from sokbench.core.network import Network
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.networks import load_network
from tests.verifiers.bounds.nets import Skip, dense, exact_logits, hostile
from verifiers.complete.proofs import check_boxes
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.check_boxes import FORMAT, BoxChecker
from verifiers.complete.proofs.claims import check_problems, check_proof, claims_label, read_proofs
from verifiers.complete.proofs.steps import Matrix, Step, steps_of


def residual(seed: int) -> nn.Sequential:
    twice = Skip(nn.Sequential(*dense([16, 16, 16], seed + 1, 1.5), nn.ReLU()))
    return nn.Sequential(dense([3, 16], seed, 2.0), nn.ReLU(), twice, dense([16, 3], seed + 2, 2.0)).float()


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )


def leaky() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 20), nn.LeakyReLU(0.1), nn.Linear(20, 20), nn.LeakyReLU(0.1), nn.Linear(20, 3))


NETWORKS = {
    "chain": (dense([3, 24, 24, 3], 0, 2.0).float(), (3,), 0.104),
    "residual": (residual(1), (3,), 0.64),
    "convolutional": (convolutional(), (1, 3, 3), 0.25),
    "leaky": (leaky(), (3,), 0.7),
}


def problem_of(name: str) -> Problem:
    module, shape, radius = NETWORKS[name]
    network = load_network(module, shape)
    x = torch.linspace(-0.5, 0.5, int(np.prod(shape))).reshape(shape)
    return Problem(network, x, int(network(x[None]).argmax()), Ball("linf", radius))


def read(path: str | Path) -> dict:
    (arrays,) = read_proofs(Path(path))
    return arrays


@pytest.fixture(scope="module", params=list(NETWORKS))
def proved(request, tmp_path_factory) -> tuple[Problem, dict, float]:
    problem = problem_of(request.param)
    outcome = sokbench.method("reluval", proofs=str(tmp_path_factory.mktemp("proofs"))).verify(problem, 20.0)
    assert outcome.verdict is Verdict.VERIFIED
    return problem, read(outcome.stats["proof"]), outcome.margin


def test_accepted_with_the_margin_of_the_search(proved):
    problem, arrays, margin = proved
    checked = check_proof(arrays, problem.network)
    assert checked.margin == pytest.approx(margin, rel=1e-6)
    assert checked.states == 2 * checked.leaves - 1
    assert checked.leaves > 3
    assert claims_label(arrays, problem.network.num_classes)


def test_the_order_of_boxes_does_not_matter(proved, monkeypatch):
    problem, arrays, margin = proved
    monkeypatch.setattr(check_boxes, "_BOXES", 2)
    monkeypatch.setattr(check_boxes, "_CACHE", 1)
    assert check_proof(arrays, problem.network).margin == pytest.approx(margin, rel=1e-6)


def test_beta_crown_splits_few_inputs_with_a_proof(tmp_path):
    network = load_network(dense([3, 40, 40, 40, 3], 0).float(), (3,))
    x = torch.zeros(3)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 0.4))
    outcome = sokbench.method("beta_crown", proofs=str(tmp_path)).verify(problem, 20.0)
    assert outcome.stats["decided_by"] == "input_search"
    arrays = read(outcome.stats["proof"])
    assert str(arrays["format"]) == FORMAT
    (checked,) = check_problems([arrays], [problem])
    assert checked.margin == pytest.approx(outcome.margin, rel=1e-6)


def leaf(arrays: dict) -> int:
    """The first node that is not split."""
    return int(np.setdiff1d(np.arange(2 * len(arrays["split_node"]) + 1), arrays["split_node"])[0])


def without(arrays: dict, keep: np.ndarray) -> dict:
    return {**arrays, **{name: arrays[name][keep] for name in ("proved_node", "proved_row", "proved_slopes")}}


def lowered_slopes(arrays: dict) -> dict:
    changed = {name: np.where(values, 0, 255) for name, values in arrays.items() if name.startswith("slopes")}
    return {**arrays, **changed}


def replaced(name: str, place: int, value: float) -> object:
    def change(arrays: dict) -> dict:
        values = arrays[name].copy()
        values[place] = value
        return {**arrays, name: values}

    return change


TAMPERED = {
    "a leaf is missing": lambda a: without(a, a["proved_node"] != leaf(a)),
    "one row of a leaf is missing": lambda a: without(a, np.arange(len(a["proved_node"])) != len(a["proved_node"]) - 1),
    "a row is another one": lambda a: {**a, "proved_row": a["proved_row"][::-1] * 0},
    "a row that there is not": replaced("proved_row", 0, 2),
    "shown where nothing is": replaced("proved_node", 0, 10**6),
    "shown below the root": replaced("proved_node", 0, -1),
    "no cuts": lambda a: {**a, **{name: a[name][:0] for name in ("split_node", "split_input", "split_cut")}},
    "the last cut is missing": lambda a: {
        **a, **{name: a[name][:-1] for name in ("split_node", "split_input", "split_cut")}
    },
    "a cut beside its box": lambda a: {**a, "split_cut": a["split_cut"] + 10.0},
    "a cut that is none": replaced("split_cut", 0, np.nan),
    "a cut along no input": replaced("split_input", 0, 9),
    "a cut along an input counted from the end": replaced("split_input", 0, -1),
    "a node split before there is one": lambda a: {**a, "split_node": a["split_node"][::-1]},
    "a node split twice": lambda a: {**a, "split_node": a["split_node"] * 0},
    "numbers of nodes that are none": lambda a: {**a, "split_node": a["split_node"].astype(float)},
    "slopes that there are not": lambda a: {**a, "proved_slopes": a["proved_slopes"] + 10**6},
    "slopes counted from the end": lambda a: {**a, "proved_slopes": a["proved_slopes"] - 5},
    "other slopes": lowered_slopes,
    "slopes of other neurons": lambda a: {**a, "slopes0": a["slopes0"][:, :-1]},
    "a larger box": lambda a: {**a, "lower": a["lower"] - 0.5, "upper": a["upper"] + 0.5},
    "an infinite box": lambda a: {**a, "upper": a["upper"] + np.inf},
    "a box of nothing": lambda a: {**a, "upper": a["upper"] * np.nan},
    "a box turned round": lambda a: {**a, "lower": a["upper"], "upper": a["lower"]},
    "a larger claim": lambda a: {**a, "offsets": a["offsets"] - 10.0},
    "another claim": lambda a: {**a, "rows": -a["rows"]},
    "a claim of nothing": lambda a: {**a, "offsets": a["offsets"] * np.nan},
    "a row is added": lambda a: {
        **a, "rows": np.concatenate([a["rows"], a["rows"][:1]]), "offsets": np.append(a["offsets"], 9.0)
    },
    "another format": lambda a: {**a, "format": np.array("sokbench-proof-2")},
    "an array is missing": lambda a: {name: values for name, values in a.items() if name != "split_cut"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(TAMPERED))
def test_tampered_proofs_are_refused(proved, name):
    problem, arrays, _ = proved
    with pytest.raises(Refused):
        check_proof(TAMPERED[name](arrays), problem.network)


def test_a_cut_that_is_moved(proved):
    """To an edge of the whole box: it misses its own box, or one of the halves is all of that, where the search had
    found no proof. What is left may happen to be another proof, but of nothing that is not so."""
    problem, arrays, _ = proved
    label, network = problem.label, problem.network
    points = torch.rand(2000, *network.input_shape) * 2 - 1
    with torch.no_grad():
        logits = network(problem.x + problem.ball.radius * points)
    others = torch.arange(3) != label
    least = float((logits[:, [label]] - logits[:, others]).min())
    refused = 0
    for place in range(len(arrays["split_cut"])):
        for edge in ("lower", "upper"):
            cuts = arrays["split_cut"].copy()
            cuts[place] = arrays[edge][arrays["split_input"][place]]
            try:
                assert check_proof({**arrays, "split_cut": cuts}, network).margin <= least + 1e-5
            except Refused:
                refused += 1
    assert refused > len(arrays["split_cut"])


def test_another_network_is_refused(proved):
    _, arrays, _ = proved
    other = load_network(dense([3, 24, 24, 3], 8, 2.0).float(), (3,))
    with pytest.raises(Refused, match="about the network"):
        check_proof(arrays, other)
    with pytest.raises(Refused):
        check_proof({**arrays, "network": np.array(other.sha256)}, other)


def test_what_it_is_a_proof_of(proved):
    """Of no larger ball, no other centre, no other label."""
    problem, arrays, _ = proved
    assert check_problems([arrays], [problem])[0].margin > 0
    for other in (
        replace(problem, ball=problem.ball.with_radius(problem.ball.radius + 2.0**-10)),
        replace(problem, x=problem.x + 0.25),
        replace(problem, label=(problem.label + 1) % 3),
    ):
        with pytest.raises(Refused, match="no proof of problem"):
            check_problems([arrays], [other])
    fewer = {**arrays, "upper": arrays["upper"] - 2.0**-10}
    with pytest.raises(Refused, match="no proof of problem"):
        check_problems([fewer], [problem])


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
    module = residual(seed) if residue else dense([3, 10, 9, 8, 2], seed, 2.0).float()
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


def test_steps_that_it_does_not_know(proved):
    problem, arrays, _ = proved
    steps = [replace(step, is_relu=False) for step in steps_of(problem.network)]
    with pytest.raises(Refused, match="know affine maps"):
        BoxChecker(steps, arrays)


@pytest.mark.parametrize("kind", ["tanh", "many inputs"])
def test_what_cannot_be_proved_is_not_searched(kind, tmp_path):
    inputs, between = (2, nn.Tanh()) if kind == "tanh" else (70, nn.ReLU())
    network = load_network(nn.Sequential(nn.Linear(inputs, 3), between, nn.Linear(3, 2)), (inputs,))
    x = torch.zeros(inputs)
    problem = Problem(network, x, int(network(x[None]).argmax()), Ball("linf", 1e-4))
    outcome = sokbench.method("reluval", proofs=str(tmp_path)).verify(problem, 5.0)
    assert outcome.termination is Termination.UNSUPPORTED
    assert "at most 64 inputs" in outcome.stats["reason"]


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.return_value, result.output


def test_from_the_command_line(tmp_path):
    """A box, and two unsafe sets, one of them of two rows: two problems, the second with a maximum."""
    module = dense([3, 30, 30, 30, 2], 6).float()
    network, spec, proof = (tmp_path / name for name in ("net.onnx", "p.vnnlib", "proof.zip"))
    torch.onnx.export(module, (torch.zeros(1, 3),), str(network), dynamo=False)
    points = torch.rand(20_000, 3) - 0.5
    with torch.no_grad():
        outputs = module(points)
    first, both = float(outputs[:, 0].min()) - 0.2, float(outputs.amax(dim=1).min()) - 0.2
    names = "".join(f"(declare-const X_{i} Real)" for i in range(3))
    names += "".join(f"(declare-const Y_{i} Real)" for i in range(2))
    box = " ".join(f"(assert (>= X_{i} -0.5)) (assert (<= X_{i} 0.5))" for i in range(3))
    unsafe = f"(and (<= Y_0 {first:.6f})) (and (<= Y_0 {both:.6f}) (<= Y_1 {both:.6f}))"
    spec.write_text(f"{names}{box}(assert (or {unsafe}))")
    assert "holds" in run("verify", network, spec, "--proof", proof)[1]
    proofs = read_proofs(proof)
    assert [str(arrays["format"]) for arrays in proofs] == [FORMAT, FORMAT]
    code, output = run("check-proof", proof, network, spec, "--json")
    answer = json.loads(output)
    assert (code, answer["answer"]) == (0, "accepted")
    assert answer["leaves"] > 2
    spec.write_text(spec.read_text().replace("0.5))", "0.51))"))
    code, output = run("check-proof", proof, network, spec, "--json")
    assert (code, json.loads(output)["answer"]) == (1, "refused")
