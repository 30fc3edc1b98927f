"""The worked examples of the papers, to the last printed digit; where the tables of their numbers are at hand, all.

papers/001: Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, appendix A.4.
papers/002: Jovanovic et al., On the Paradox of Certified Training, appendix A (figure 8) and section 4.1 (figure 3).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.deadline import Deadline
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for
from verifiers.bounds import preactivation_bounds
from verifiers.bounds.backward import Rows, substitute
from verifiers.bounds.forward.forms import Forms, LinearBounds, Variables, affine
from verifiers.bounds.plans import Plan
from verifiers.bounds.propagation import run
from verifiers.bounds.relaxations.nonlinear import relax
from verifiers.bounds.relaxations.relu import ADAPTIVE_TIE_ZERO, HYBRID, PARALLEL, ZERO, Relaxation
from verifiers.bounds.rounding import Nearest
from verifiers.bounds.sets.inputs import Box, Interval
from verifiers.bounds.state import Bounds
from verifiers.graph.linear import Linear

DATA = os.environ.get("SOKBENCH_DATA")
TABLES = Path(DATA or ".").parent / "reference" / "paper_tables"
printed = pytest.mark.skipif(DATA is None or not TABLES.is_dir(), reason="no tables of the papers beside SOKBENCH_DATA")


def network(*weights: list[list[float]], biases: dict[int, list[float]] | None = None) -> nn.Sequential:
    """Linear layers, each with a ReLU after it, without bias unless given."""
    parts: list[nn.Module] = []
    for index, weight in enumerate(weights):
        layer = nn.Linear(len(weight[0]), len(weight), dtype=torch.float64)
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
        layer.bias.data = torch.tensor((biases or {}).get(index, [0.0] * len(weight)), dtype=torch.float64)
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts)


def interval(module: nn.Sequential, x: list[float], radius: float) -> list[tuple[list[float], list[float]]]:
    graph = graph_for(module, (len(x),))
    found = preactivation_bounds(graph, torch.tensor([x], dtype=torch.float64), Ball("linf", radius), "ibp")
    return [(lower[0].tolist(), upper[0].tolist()) for lower, upper in found]


def backward(module: nn.Sequential, x: list[float], radius: float, node: int, relaxation: Relaxation) -> Tensor:
    """Bounds (2, n) of node `node` by back-substitution alone, without outward rounding."""
    return substituted(known(module, Box(torch.tensor([x], dtype=torch.float64), radius), relaxation), node, relaxation)


def known(module: nn.Sequential, inputs: Box, relaxation: Relaxation) -> Bounds:
    graph = graph_for(module, tuple(inputs.interval().lower.shape[1:]))
    plan = Plan(relaxation, intermediate=True)
    return run(graph, inputs, plan, Nearest(), graph.magnitudes, Deadline())[0]


def substituted(bounds: Bounds, node: int, relaxation: Relaxation) -> Tensor:
    """Rows start at the input of an affine node."""
    op, index = bounds.graph.nodes[node].op, node
    rows = torch.eye(bounds.graph.nodes[node].shape[0], dtype=torch.float64)
    constants = torch.zeros(len(rows), dtype=torch.float64)
    if isinstance(op, Linear) and op.bias is not None:
        rows, constants, index = op.weight, op.bias, node - 1
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)
    start = Rows(index, rows[None, None], constants[None, None])
    return substitute(bounds, start, slice(0, 1), sign, relaxation)[:, 0]


# nodes: 0 input, 1 linear, 2 ReLU, 3 linear, ...
A4 = network([[2.0, 1.0], [-3.0, 4.0]], [[4.0, -2.0], [2.0, 1.0]], [[-2.0, 1.0]])


def test_lirpa_a4_intervals() -> None:
    h2, h3, h4 = interval(A4, [0.0, 1.0], 2.0)
    assert h2 == (pytest.approx([-5, -10], abs=1e-12), pytest.approx([7, 18], abs=1e-12))
    assert h3 == (pytest.approx([-36, 0], abs=1e-12), pytest.approx([28, 32], abs=1e-12))
    assert h4 == (pytest.approx([-56], abs=1e-12), pytest.approx([32], abs=1e-12))


def test_lirpa_a4_backward() -> None:
    lower, upper = backward(A4, [0.0, 1.0], 2.0, 5, ZERO)
    assert lower.item() == pytest.approx(-42, abs=1e-12)
    assert upper.item() == pytest.approx(24.285714, abs=5e-7)  # printed as 24.28: a chain of rounded values


FIGURE_8 = network([[1.0, 1.0], [1.0, -1.0]], [[1.0, 1.0], [1.0, -1.0]])


def test_paradox_appendix_a() -> None:
    """DeepZ on figure 8. u_{2,1} is printed as 1, where the intercept was dropped; its exact value is 2."""
    assert interval(FIGURE_8, [0.0, 0.0], 1.0)[0] == (
        pytest.approx([-2, -2], abs=1e-12),
        pytest.approx([2, 2], abs=1e-12),
    )
    assert backward(FIGURE_8, [0.0, 0.0], 1.0, 2, PARALLEL).tolist() == [
        pytest.approx([-1, -1], abs=1e-12),
        pytest.approx([2, 2], abs=1e-12),
    ]
    assert backward(FIGURE_8, [0.0, 0.0], 1.0, 3, PARALLEL).tolist() == [
        pytest.approx([-1, -2], abs=1e-12),
        pytest.approx([3, 2], abs=1e-12),
    ]


@pytest.mark.parametrize("w", [-1.0, -0.7, -0.2, 0.0, 0.2, 0.5, 0.9, 1.0])
def test_paradox_section_4_1_crown_jumps(w: float) -> None:
    """l_{3,1} is 1 for w in [-1, 0] and w for w in (0, 1]: a jump where u = -l, on the side that the tie rule says."""
    module = network([[1.0], [1.0]], [[0.0, 1.0], [-1.0, 1.0]], biases={0: [w, w], 1: [1.0, 0.0]})
    lower, _ = backward(module, [0.0], 1.0, 3, ADAPTIVE_TIE_ZERO)
    assert lower[0].item() == pytest.approx(1.0 if w <= 0 else w, abs=1e-12)


@pytest.mark.parametrize("w", [-0.9, -0.3, 0.0, 0.4, 0.99, 1.0 + 1e-12, 1.5, 2.0])
def test_paradox_section_4_1_hbox_jumps(w: float) -> None:
    """l_{3,2} is -1 - w for w in (-1, 1) and 0 from there on: a jump where the neurons become stable.

    For w = 1 itself our interval of the input, rounded outward, leaves them unstable by one ulp.
    """
    module = network([[1.0], [1.0]], [[0.0, 1.0], [-1.0, 1.0]], biases={0: [w, w], 1: [1.0, 0.0]})
    lower, _ = backward(module, [0.0], 1.0, 3, HYBRID)
    assert lower[1].item() == pytest.approx(-1 - w if w < 1 else 0.0, abs=1e-12)


Sides = tuple[Tensor, Tensor]


def linear_function(inner: Bounds, node: int) -> tuple[Sides, Sides]:
    """Coefficients and constants of the lower and the upper function that back-substitution ends in."""
    size = inner.graph.input_shape[0]
    points = [torch.zeros(size, dtype=torch.float64), *torch.eye(size, dtype=torch.float64)]
    values = []
    for point in points:
        at = Box(point[None], 0.0)
        there = Bounds(inner.graph, at, inner.rounding, [at.interval(), *inner.intervals[1:]])
        values.append(substituted(there, node, ZERO)[:, 0])
    slopes = torch.stack([value - values[0] for value in values[1:]], dim=1)
    return (slopes[0], slopes[1]), (values[0][:1], values[0][1:])


def both(x: Tensor) -> Sides:
    return x, x


def a4_by_intervals() -> dict[str, Sides]:
    """What `IBP` prints, from the weights and the intervals of the engine."""
    bounds = known(A4, Box(torch.tensor([[0.0, 1.0]], dtype=torch.float64), 2.0), ZERO)
    found = {"h1": tuple(side[0] for side in bounds.intervals[0])}
    for k, name in ((1, "h2"), (3, "h3")):
        found[name] = tuple(side[0] for side in bounds.intervals[k])
    (_, _), (_, _), (low, up) = interval(A4, [0.0, 1.0], 2.0)
    found["h4"] = torch.tensor(low), torch.tensor(up)
    for k, source in ((0, "h1"), (2, "h2"), (4, "h3")):
        weight, (low, up) = A4[k].weight.detach(), found[source]
        low, up = (low, up) if k == 0 else (low.clamp(min=0), up.clamp(min=0))
        name = f"W{k // 2 + 1}{{}}_{source if k == 0 else f'relu_{source}'}"
        plus, minus = weight.clamp(min=0), weight.clamp(max=0)
        found[name.format("pos")], found[name.format("neg")] = (plus @ low, plus @ up), (minus @ up, minus @ low)
    return found  # type: ignore[return-value]


def a4_forward() -> dict[str, Sides]:
    """What forward mode prints, from the forms of the engine."""
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    graph, inputs = graph_for(A4, (2,)), Box(x, 2.0)
    variables = Variables(inputs, slice(0, 1), (2,))
    forms, found = variables.start(), {"absW2_rowsum": both(A4[0].weight.detach().abs().sum(dim=1))}
    found["W2_X0"] = both(A4[0].weight.detach() @ x[0])
    for index in (1, 2, 3, 4, 5):
        layer = index // 2 + 2
        if index % 2:
            forms = affine(forms, graph, index, variables.size)
            low, up = functions(forms)
            # the engine's bounds are a few ulps outside, and h3 is exactly 0 on one side
            hull = Interval(*(end[None].round(decimals=9) for end in concrete(low, up, x[0], 2.0)))
            found[f"W{layer}"], found[f"d{layer - 1}"] = (low[0].squeeze(0), up[0].squeeze(0)), (low[1], up[1])
            found[f"h{layer}"] = hull.lower[0], hull.upper[0]
        else:
            planes = relax(graph.nodes[index], [hull], ZERO)
            low_slope, up_slope = planes.slopes[0]
            found[f"diag_alpha{layer - 2}"] = low_slope[0].diag(), up_slope[0].diag()
            found[f"beta{layer - 2}"] = planes.lower_offset[0], planes.upper_offset[0]
            forms = LinearBounds().relaxed(planes, [forms], [hull], 2, variables.size)
    return found


def functions(forms: Forms) -> tuple[Sides, Sides]:
    """(rows, constants) of the lower and the upper function."""
    spread = torch.zeros_like(forms.values) if forms.spread is None else forms.spread
    low, up = (forms.values - spread).T, (forms.values + spread).T
    return (low, forms.centre - forms.reach), (up, forms.centre + forms.reach)


def concrete(low: Sides, up: Sides, x: Tensor, radius: float) -> Sides:
    reach = [radius * rows.abs().sum(dim=1) for rows in (low[0], up[0])]
    return low[0] @ x + low[1] - reach[0], up[0] @ x + up[1] + reach[1]


def a4_backward() -> dict[str, Sides]:
    """What backward mode prints; A2 from the network behind the first ReLU, whose intervals are the same."""
    whole = known(A4, Box(torch.tensor([[0.0, 1.0]], dtype=torch.float64), 2.0), ZERO)
    behind = network([[4.0, -2.0], [2.0, 1.0]], [[-2.0, 1.0]])
    tail = known(behind, Box(torch.tensor([[3.5, 9.0]], dtype=torch.float64), torch.tensor([[3.5, 9.0]])), ZERO)
    slopes, constants = linear_function(whole, 5)
    low, up = substituted(whole, 5, ZERO)
    return {
        "A4": both(torch.ones(1)),
        "A3": both(A4[4].weight.detach()[0]),
        "A2": linear_function(tail, 3)[0],
        "A1": slopes,
        "d1": constants,
        "h4": (low, up),
    }


def a4_given() -> dict[str, Sides]:
    weights = {f"What{k // 2 + 1}": both(A4[k].weight.detach().squeeze(0)) for k in (0, 2, 4)}
    return {**weights, "X0": both(torch.tensor([0.0, 1.0]))}


@printed
def test_every_printed_number_of_lirpa_a4() -> None:
    """One is off: h4 by backward mode is printed as 24.28, at the end of a chain of rounded values, for 24.2857."""
    ways: dict[str, Callable[[], dict[str, Sides]]] = {
        "input": a4_given, "IBP": a4_by_intervals, "forward": a4_forward, "backward": a4_backward,
    }  # fmt: skip
    found = {name: way() for name, way in ways.items()}
    off = []
    with (TABLES / "autolirpa2020_exampleA4.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        place = tuple(int(k) - 1 for k in row["index"].split(","))
        sides = {"lower": (0,), "upper": (1,)}.get(row["bound"], (0, 1))
        for side in sides:
            ours = found[row["method"]][row["metric"]][side][place].item()
            assert ours == pytest.approx(float(row["recomputed"]), abs=6e-7), row
            digits = len(row["value"].partition(".")[2])
            if abs(ours - float(row["value"])) > 0.5 * 10**-digits + 1e-9:
                off.append((row["method"], row["metric"], row["value"]))
    assert off == [("backward", "h4", "24.28")]
    assert len(rows) >= 120


@printed
def test_every_printed_number_of_paradox_figure_8() -> None:
    """u_{2,1} is printed as 1, where the intercept was dropped."""
    inputs = Box(torch.zeros(1, 2, dtype=torch.float64), 1.0)
    bounds = known(FIGURE_8, inputs, PARALLEL)
    values = [torch.stack([side[0] for side in bounds.intervals[0]])]
    values += [substituted(bounds, node, PARALLEL) for node in (1, 2, 3)]
    off = 0
    with (TABLES / "relax2022_worked_examples.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"].startswith("x_")]
    for row in rows:
        layer, neuron = (int(k) for k in row["metric"].removeprefix("x_").split(","))
        ours = values[layer][{"lower": 0, "upper": 1}[row["bound"]], neuron - 1].item()
        assert ours == pytest.approx(float(row["recomputed"]), abs=1e-12), row
        off += ours != pytest.approx(float(row["value"]), abs=1e-12)
    assert off == 1
    assert len(rows) == 15
    planes = relax(bounds.graph.nodes[2], [bounds.intervals[1]], PARALLEL)
    assert [slope[0].tolist() for slope in planes.slopes[0]] == [[0.5, 0.5], [0.5, 0.5]]  # lambda
