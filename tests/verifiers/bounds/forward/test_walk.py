"""Forward bounds: the worked examples of the papers, every node of many kinds of networks, limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.network import Network
from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import convolutional, dense, graph_for, margins_at, points_in
from tests.verifiers.bounds.test_worked_examples import A4, FIGURE_8, network
from verifiers.bounds import NodeBounds, bounds, margin_bounds
from verifiers.bounds.forward import walk
from verifiers.bounds.forward.forms import Domain, LinearBounds, Zonotope
from verifiers.bounds.plans import PLANS, Plan
from verifiers.bounds.relaxations.relu import ADAPTIVE, PARALLEL, ZERO
from verifiers.graph import graph_of

FORWARD = ["forward_lirpa", "forward_backward", "deepz", "ai2_zonotope"]


def every_node(module: nn.Module, x: list[float], radius: float, plan: str | Plan) -> list[NodeBounds]:
    point = torch.tensor([x], dtype=torch.float64)
    return bounds(Network("test", module, (len(x),), 2, ""), point, Ball("linf", radius), plan)


def of_node(found: list[NodeBounds], index: int) -> list[list[float]]:
    return [found[index].lower[0].tolist(), found[index].upper[0].tolist()]


def test_lirpa_a4_forward() -> None:
    """Lower slope 0 as there; h3's upper bound is printed as 24, which is 24.2857 cut off. In h4 no forward bound gains
    over intervals below."""
    found = every_node(A4, [0.0, 1.0], 2.0, Plan(ZERO, intermediate=True, domain=LinearBounds, forward=True))
    assert of_node(found, 1) == [pytest.approx([-5, -10], abs=1e-9), pytest.approx([7, 18], abs=1e-9)]
    assert of_node(found, 3) == [pytest.approx([-36, 0], abs=1e-9), pytest.approx([28, 24.285714], abs=5e-7)]
    assert of_node(found, 5) == [pytest.approx([-56], abs=1e-9), pytest.approx([24.285714], abs=5e-7)]


def test_paradox_appendix_a_by_zonotopes() -> None:
    found = every_node(FIGURE_8, [0.0, 0.0], 1.0, "deepz")
    assert of_node(found, 1) == [pytest.approx([-2, -2], abs=1e-9), pytest.approx([2, 2], abs=1e-9)]
    # as zonotopes; intervals know besides that a ReLU is not negative, and the better bound is kept
    assert of_node(found, 2) == [pytest.approx([0, 0], abs=1e-9), pytest.approx([2, 2], abs=1e-9)]
    assert of_node(found, 3) == [pytest.approx([-0.0, -2], abs=1e-9), pytest.approx([3, 2], abs=1e-9)]


@pytest.mark.parametrize("plan", ["hbox", "ai2_zonotope"])
@pytest.mark.parametrize("w", [-0.9, -0.3, 0.0, 0.4, 0.99, 1.0 + 1e-9, 1.5])
def test_paradox_section_4_1_symbolic_intervals_jump(w: float, plan: str) -> None:
    """l_{3,2} is -1 - w for w in (-1, 1), and 0 for w >= 1 (at 1 itself, bounds rounded outward fall on the left)."""
    module = network([[1.0], [1.0]], [[0.0, 1.0], [-1.0, 1.0]], biases={0: [w, w], 1: [1.0, 0.0]})
    found = every_node(module, [0.0], 1.0, plan)
    assert found[3].lower[0, 1].item() == pytest.approx(-1 - w if w < 1 else 0.0, abs=1e-9)


class Mixed(nn.Module):
    """Products, sums of branches and many activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.tanh(self.first(x))
        b = torch.sigmoid(self.second(a)) * a + nn.functional.leaky_relu(self.second(a), 0.1)
        c = torch.maximum(b, self.first(x)) - nn.functional.softplus(b)
        return self.last(torch.exp(-c.abs()) + nn.functional.relu(c))  # type: ignore[no-any-return]


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2", "l1"]), radius=st.sampled_from([0.02, 0.3]))
def test_every_node_of_a_network_of_many_operations(seed: int, norm: str, radius: float) -> None:
    torch.manual_seed(seed)
    module, ball = Mixed().double(), Ball(norm, radius, 0.0, 1.0)  # type: ignore[arg-type]
    x = torch.rand(2, 3, dtype=torch.float64)
    given_network = Network("test", module, (3,), 3, "")
    clouds = [points_in(one, ball, 500, seed) for one in x]
    values = [graph_of(given_network).values(cloud) for cloud in clouds]
    for plan in FORWARD:
        for index, node in enumerate(bounds(given_network, x, ball, plan)):
            for sample in range(2):
                assert bool((node.lower[sample] <= values[sample][index].amin(dim=0)).all()), (plan, node.label)
                assert bool((node.upper[sample] >= values[sample][index].amax(dim=0)).all()), (plan, node.label)
        margins = margin_bounds(graph_of(given_network), x, torch.tensor([0, 1]), ball, plan)
        for sample, label in enumerate((0, 1)):
            assert bool((margins[sample] <= margins_at(module, clouds[sample], label).amin(dim=0)).all()), plan


@pytest.mark.parametrize("plan", FORWARD)
def test_batches_are_their_inputs(plan: str) -> None:
    graph = graph_for(convolutional(0), (2, 6, 6))
    x, labels = torch.rand(3, 2, 6, 6, dtype=torch.float64), torch.tensor([0, 3, 1])
    together = margin_bounds(graph, x, labels, Ball("linf", 0.05), plan)
    alone = [margin_bounds(graph, x[i : i + 1], labels[i : i + 1], Ball("linf", 0.05), plan) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-12)


@pytest.mark.parametrize("domain", [LinearBounds, Zonotope])
def test_one_hidden_layer_is_back_substitution(domain: type[Domain]) -> None:
    """Then there is nothing between the relaxed layer and the end that a domain could lose."""
    graph = graph_for(dense([5, 12, 3], 2, 2.0), (5,))
    x, labels = torch.rand(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    relaxation = ADAPTIVE if domain is LinearBounds else PARALLEL
    forwards = Plan(relaxation, intermediate=True, domain=domain, forward=True)
    for norm in ("linf", "l2", "l1"):
        ball = Ball(norm, 0.3, 0.0, 1.0)  # type: ignore[arg-type]
        ours = margin_bounds(graph, x, labels, ball, forwards)
        assert torch.allclose(ours, margin_bounds(graph, x, labels, ball, Plan(relaxation, True)), atol=1e-10)


def test_late_answers_are_interval_bounds() -> None:
    graph = graph_for(dense([4, 10, 10, 3], 1), (4,))
    x, labels, ball = torch.rand(2, 4), torch.tensor([0, 1]), Ball("linf", 0.1)
    for plan in FORWARD:
        with pytest.raises(OutOfTime) as late:
            margin_bounds(graph, x, labels, ball, plan, Deadline(0.0))
        assert late.value.margins is not None
        assert torch.allclose(late.value.margins, margin_bounds(graph, x, labels, ball, "ibp"))


def test_too_large_a_layer_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_for(dense([4, 10, 10, 3], 1), (4,))
    monkeypatch.setattr(walk, "_BYTES", 1000)
    with pytest.raises(MemoryError, match="4 variables for 10 values"):
        margin_bounds(graph, torch.rand(1, 4), torch.tensor([0]), Ball("linf", 0.1), "deepz")


def test_chunks_do_not_matter() -> None:
    graph = graph_for(dense([6, 15, 15, 3], 1, 2.0), (6,))
    x, labels, ball = torch.rand(2, 6), torch.tensor([0, 1]), Ball("linf", 0.2)
    for name in FORWARD:
        plan = PLANS[name]
        small = Plan(plan.relaxation, True, plan.domain, plan.forward, chunk_bytes=1)
        whole = margin_bounds(graph, x, labels, ball, name)
        assert torch.allclose(margin_bounds(graph, x, labels, ball, small), whole, atol=1e-12)
