"""Bounds hold in real arithmetic: against rational arithmetic, and on networks built to deceive floating point."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sokbench.core.deadline import Deadline
from sokbench.core.problem import Ball, Norm
from tests.verifiers.bounds.nets import dense, exact_logits, graph_for, hostile
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.bounds.forward.forms import LinearBounds
from verifiers.bounds.plans import PLANS
from verifiers.bounds.propagation import margins, run
from verifiers.bounds.relaxations.relu import INTERVAL
from verifiers.bounds.rounding import Nearest, gamma
from verifiers.bounds.sets.inputs import input_set
from verifiers.bounds.targets import Target
from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp


def layers(*pairs: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for weight, bias in pairs:
        layer = nn.Linear(len(weight[0]), len(weight), dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


BIG = 2.0**60

# In each, f_0 - f_1 < 0 somewhere in the ball, but floating point loses the part that says so.
DECEIVERS = {
    # (w - 0.5 - w) h + 0.3: the 0.5 is absorbed by w
    "absorbed in the last layer": (
        layers(([[1.0], [1.0], [1.0]], [0.0] * 3), ([[BIG, -0.5, -BIG], [0.0, 0.0, 0.0]], [0.3, 0.0])),
        [1.0],
    ),
    # a bias of -1 is added to w and w is subtracted again one layer later
    "absorbed in a bias": (
        layers(
            ([[1.0], [1.0]], [0.0, 0.0]),
            ([[BIG, 0.0], [0.0, BIG]], [-1.0, 0.0]),
            ([[1.0, -1.0], [0.0, 0.0]], [0.5, 0.0]),
        ),
        [1.0],
    ),
    # many tiny terms against one big one
    "absorbed in a long sum": (
        layers(([[1.0]] * 65, [0.0] * 65), ([[BIG, *[-8.0] * 63, -BIG], [0.0] * 65], [500.0, 0.0])),
        [1.0],
    ),
    # a ReLU that computes the rounding error of its input (Zombori et al. 2021)
    "a neuron made of rounding": (
        layers(
            ([[1.0], [1.0]], [2.0**53, 0.0]),
            ([[1.0, 0.0], [0.0, 1.0]], [-(2.0**53), 0.0]),
            ([[1.0, -1.0], [0.0, 0.0]], [-0.25, 0.0]),
        ),
        [1.4],
    ),
}  # fmt: skip


def naive_margins(graph: Graph, x: Tensor, ball: Ball, plan: str) -> Tensor:
    chosen = PLANS[plan]
    bounds, _ = run(graph, input_set(x, ball), chosen, Nearest(), graph.magnitudes, Deadline())
    labels = torch.zeros(len(x), dtype=torch.long)
    found = [margins(bounds, labels, one, chosen.chunk_bytes) for one in (INTERVAL, chosen.relaxation or INTERVAL)]
    return torch.maximum(*found)


@pytest.mark.parametrize("name", DECEIVERS)
@pytest.mark.parametrize("radius", [0.0, 1e-3])
def test_deceiving_networks_are_never_verified(name: str, radius: float) -> None:
    module, point = DECEIVERS[name]
    x = torch.tensor([point], dtype=torch.float64)
    exact = exact_logits(module, x[0])
    assert exact[0] - exact[1] < 0
    for plan in PLANS:
        for norm in ("linf", "l2", "l1"):
            ball = Ball(norm, radius)  # type: ignore[arg-type]
            bound = margin_bounds(graph_for(module, (1,)), x, torch.tensor([0]), ball, plan)
            assert Fraction(float(bound[0, 1])) <= exact[0] - exact[1]


def test_the_deceit_works_on_bounds_that_ignore_rounding() -> None:
    deceived = set()
    for name, (module, point) in DECEIVERS.items():
        x = torch.tensor([point], dtype=torch.float64)
        for plan in PLANS:
            if float(naive_margins(graph_for(module, (1,)), x, Ball("linf", 0.0), plan)[0, 0]) > 0:
                deceived.add(name)
    assert deceived >= {"absorbed in the last layer", "absorbed in a long sum", "a neuron made of rounding"}


@settings(max_examples=25)
@given(data=st.data())
def test_against_rational_arithmetic(data: st.DataObject) -> None:
    """Weights over 30 orders of magnitude; the value at points of the ball, as fractions, never below the bound."""
    module, x = hostile(data.draw(st.integers(0, 10**6)))
    radius = data.draw(st.sampled_from([0.0, 2.0**-40, 0.01, 0.5]))
    graph = graph_for(module, (2,))
    steps = [Fraction(radius) * s for s in (-1, 0, 1)]
    values = [
        exact_logits_at(module, [Fraction(float(x[0, 0])) + dx, Fraction(float(x[0, 1])) + dy])
        for dx in steps
        for dy in steps
    ]
    for plan in PLANS:
        bound = float(margin_bounds(graph, x, torch.tensor([1]), Ball("linf", radius), plan)[0, 0])
        assert bound == float("-inf") or all(Fraction(bound) <= value[1] - value[0] for value in values), plan
        lower, upper = preactivation_bounds(graph, x, Ball("linf", radius), plan)[0]
        first = [hidden_at(module, 0, [Fraction(float(x[0, 0])) + dx, Fraction(float(x[0, 1]))]) for dx in steps]
        for unit in range(3):
            assert all(Fraction(float(lower[0, unit])) <= v[unit] <= Fraction(float(upper[0, unit])) for v in first)


def exact_logits_at(module: nn.Sequential, point: list[Fraction]) -> list[Fraction]:
    values = point
    for index, layer in enumerate(module):
        values = (
            hidden_at(module, index, values) if isinstance(layer, nn.Linear) else [max(v, Fraction(0)) for v in values]
        )
    return values


def hidden_at(module: nn.Sequential, index: int, values: list[Fraction]) -> list[Fraction]:
    rows, biases = module[index].weight.tolist(), module[index].bias.tolist()
    return [
        sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(bias))
        for row, bias in zip(rows, biases, strict=True)
    ]


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), radius=st.sampled_from([0.0, 0.02, 0.4]))
def test_windows_against_rational_arithmetic(seed: int, norm: Norm, radius: float) -> None:
    """Convolutions whose rows stay on windows, with weights over 20 orders of magnitude, and inactive neurons."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 2, 1, 1), nn.ReLU(), nn.Conv2d(2, 2, 2, 1, 0), nn.ReLU(), nn.Conv2d(2, 1, 2, 2, 0), nn.ReLU(),
        nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2),
    ).double()  # fmt: skip
    for tensor in module.parameters():
        tensor.data = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.data *= 2.0 ** torch.randint(-30, 30, tensor.shape, generator=generator)
    graph, x = graph_for(module, (1, 4, 4)), torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    target = graph.nodes[graph.relus[1]].inputs[0]
    assert Target.of(graph, target, norm == "linf").patches is not None
    for plan in ("crown", "fastlin", "crown_zero"):
        bound = float(margin_bounds(graph, x, torch.tensor([0]), Ball(norm, radius), plan)[0, 1])
        intervals = preactivation_bounds(graph, x, Ball(norm, radius), plan)
        for corner in range(3):
            steps = [0] * 16
            for place in range(16) if norm == "linf" else [corner * 5]:
                steps[place] = (-1, 1, 1 - 2 * (place % 2))[corner]
            values = [Fraction(v) + Fraction(radius) * s for v, s in zip(x.flatten().tolist(), steps, strict=True)]
            nodes = exact_nodes(graph, values)
            assert bound == float("-inf") or Fraction(bound) <= nodes[-1][0] - nodes[-1][1], plan
            for (lower, upper), relu in zip(intervals, graph.relus, strict=True):
                exact = nodes[graph.nodes[relu].inputs[0]]
                for low, value, up in zip(lower.flatten().tolist(), exact, upper.flatten().tolist(), strict=True):
                    assert low == float("-inf") or Fraction(low) <= value
                    assert up == float("inf") or value <= Fraction(up)


@pytest.mark.parametrize("ball", [Ball("linf", 1e-3), Ball("l2", 0.0), Ball("l1", 1e-3)], ids=str)
def test_deceiving_windows(ball: Ball) -> None:
    """A convolution over three equal channels with weights w, -0.5 and -w: a row on its way through the layer below,
    or a centre on its way up, loses the 0.5 unless it is paid for."""
    first, second = nn.Conv2d(1, 3, 1).double(), nn.Conv2d(3, 1, 2).double()
    first.weight.data.fill_(1.0)
    first.bias.data.zero_()
    second.weight.data = torch.tensor([BIG, -0.5, -BIG], dtype=torch.float64)[None, :, None, None].expand(1, 3, 2, 2)
    second.bias.data.fill_(0.25)
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(9, 2).double())
    graph, x = graph_for(module, (1, 4, 4)), torch.ones(1, 1, 4, 4, dtype=torch.float64)
    target = graph.nodes[graph.relus[1]].inputs[0]
    assert Target.of(graph, target, ball.norm == "linf").patches is not None
    exact = Fraction(0.25) - 2  # 4 places of -0.5
    for plan in ("crown", "fastlin"):
        lower, upper = preactivation_bounds(graph, x, ball, plan)[1]
        assert all(
            Fraction(low) <= exact <= Fraction(up)
            for low, up in zip(lower.flatten().tolist(), upper.flatten().tolist(), strict=True)
        )
        naive, _ = run(graph, input_set(x, ball), PLANS[plan], Nearest(), graph.magnitudes, Deadline())
        assert not any(
            Fraction(float(low)) <= exact <= Fraction(float(up))
            for low, up in zip(*(side.flatten() for side in naive.intervals[target]), strict=True)
        )


def exact_nodes(graph: Graph, values: list[Fraction]) -> list[list[Fraction]]:
    """Every node of a chain in rational arithmetic: affine operations as the matrices of their unit rows."""
    found = [values]
    for index, node in enumerate(graph.nodes[1:], start=1):
        before = found[-1]
        if isinstance(node.op, LinearOp):
            shape = graph.nodes[index - 1].shape
            size = len(torch.zeros(node.shape).flatten())
            rows = node.op.unit_rows(torch.arange(size), shape, node.shape).flatten(1).tolist()
            offset = node.op.offset
            biases = [0.0] * size if offset is None else offset.expand(node.shape).flatten().tolist()
            found.append(
                [
                    sum((Fraction(w) * v for w, v in zip(row, before, strict=True) if w), Fraction(bias))
                    for row, bias in zip(rows, biases, strict=True)
                ]
            )
        else:
            found.append([max(v, Fraction(0)) for v in before])
    return found


def test_folded_batch_norm_against_high_precision() -> None:
    """The bounds enclose the network with its batch norm as defined, not as folded."""
    torch.manual_seed(0)
    linear, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    norm.running_mean.normal_(0, 100)
    norm.running_var.uniform_(1e-6, 1e-4)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    module = nn.Sequential(linear, norm, nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.rand(1, 3)
    ((lower, upper),) = preactivation_bounds(graph_for(module, (3,)), x, Ball("linf", 0.0))
    with mpmath.workdps(60):
        for j in range(4):
            value = sum(
                mpmath.mpf(w) * mpmath.mpf(v) for w, v in zip(linear.weight[j].tolist(), x[0].tolist(), strict=True)
            )
            value += mpmath.mpf(linear.bias[j].item()) - mpmath.mpf(norm.running_mean[j].item())
            value *= mpmath.mpf(norm.weight[j].item())
            value /= mpmath.sqrt(mpmath.mpf(norm.running_var[j].item()) + mpmath.mpf(norm.eps))
            value += mpmath.mpf(norm.bias[j].item())
            assert mpmath.mpf(lower[0, j].item()) <= value <= mpmath.mpf(upper[0, j].item())
            assert upper[0, j] - lower[0, j] < 1e-9 * (1 + abs(float(value)))


def test_overflow_ends_in_no_bound_rather_than_a_wrong_one() -> None:
    module = layers(([[1e200], [-1e200]], [0.0, 0.0]), ([[1e200, -1e200], [0.0, 0.0]], [0.0, 1.0]))
    x = torch.tensor([[0.5]], dtype=torch.float64)
    for plan in PLANS:
        bound = margin_bounds(graph_for(module, (1,)), x, torch.tensor([0]), Ball("linf", 1.0), plan)
        assert bound.tolist() == [[float("inf"), float("-inf")]]
        ((lower, upper),) = preactivation_bounds(graph_for(module, (1,)), x, Ball("linf", 1.0), plan)
        assert not bool(lower.isnan().any() | upper.isnan().any())


def test_error_terms_are_small() -> None:
    """The price of rigour on an ordinary network: below 1e-10 of the bounds."""
    module = dense([20, 50, 50, 50, 5], seed=0)
    graph, x = graph_for(module, (20,)), torch.rand(4, 20, dtype=torch.float64)
    for plan in (name for name, plan in PLANS.items() if plan.domain is not LinearBounds):  # zonotopes: as backwards
        ball = Ball("linf", 0.05)
        rigorous = margin_bounds(graph, x, torch.zeros(4, dtype=torch.long), ball, plan)[:, 1:]
        naive = naive_margins(graph, x, ball, plan)
        assert bool((rigorous <= naive).all())
        assert float((naive - rigorous).max()) < 1e-10 * float(naive.abs().max())


def test_gamma_refuses_what_the_analysis_does_not_cover() -> None:
    assert gamma(1000) > 1000 * 2.0**-53
    with pytest.raises(OverflowError):
        gamma(2**53)
