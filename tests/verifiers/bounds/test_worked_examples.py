"""The worked examples of the papers, to the last printed digit.

papers/001: Xu et al., Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond, appendix A.4.
papers/002: Jovanovic et al., On the Paradox of Certified Training, appendix A (figure 8) and section 4.1 (figure 3).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.deadline import Deadline
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for
from verifiers.bounds import preactivation_bounds
from verifiers.bounds.backward import Rows, substitute
from verifiers.bounds.inputs import input_set
from verifiers.bounds.plans import Plan
from verifiers.bounds.propagation import run
from verifiers.bounds.relaxations import ADAPTIVE_TIE_ZERO, PARALLEL, ZERO, Relaxation
from verifiers.bounds.rounding import Nearest


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
    graph = graph_for(module, (len(x),))
    inputs = input_set(torch.tensor([x], dtype=torch.float64), Ball("linf", radius))
    bounds, _ = run(graph, inputs, Plan(relaxation, intermediate=True), Nearest(), graph.magnitudes, Deadline())
    size = graph.nodes[node].shape[0]
    rows = torch.eye(size, dtype=torch.float64).reshape(1, 1, size, size)
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)
    return substitute(bounds, Rows(node, rows, rows.new_zeros(1, 1, size)), slice(0, 1), sign, relaxation)[:, 0]


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
