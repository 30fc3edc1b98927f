"""The contract's own ground truth: its search against exhaustion, and exhaustion against a dense grid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sokbench.contract import cases as cases_module
from sokbench.contract import search
from sokbench.contract.cases import EXHAUSTIBLE, RADII, Case, case, cases, within_budget
from sokbench.contract.networks import ORDINARY, inputs_of, tiny_network, with_permuted_classes
from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.core.evaluation import in_ball, least_margin, logits64
from sokbench.core.problem import NORMS

SOLVED = [item.name for item in cases(["linf", "l1"], EXHAUSTIBLE)]


@pytest.mark.parametrize("name", SOLVED)
def test_search_attains_the_exact_optimum(name: str) -> None:
    item = case(name)
    attained = float(item.attained[0].min())
    assert item.exact is not None
    assert item.exact - 1e-6 <= attained <= item.exact + 0.01


@pytest.mark.parametrize("name", ["mlp/linf/0.3", "mlp/linf/0.1/free", "edge/linf/0.3", "mlp/l1/0.3", "edge/l1/1"])
def test_exhaustion_agrees_with_a_dense_grid(name: str) -> None:
    """In two dimensions, 801 x 801 points leave at most a small gap, and none of them lies below the optimum."""
    item = case(name)
    centre, radius = item.x[0].double(), item.ball.radius
    axis = torch.linspace(-radius, radius, 801, dtype=torch.float64)
    points = centre + torch.cartesian_prod(axis, axis)
    if item.ball.norm == "l1":
        points = points[(points - centre).abs().sum(1) <= radius]
    if item.ball.low is not None:
        points = points.clamp(item.ball.low, item.ball.high)
    labels = item.labels[:1].expand(len(points))
    grid = float(least_margin(logits64(item.network, points), labels).min())
    assert item.exact is not None
    assert item.exact - 1e-7 <= grid <= item.exact + 0.2 * radius


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_stays_in_the_ball(norm: str) -> None:
    item = case(f"deep/{norm}/{RADII[norm][0]:g}")
    seen: list[torch.Tensor] = []
    module = search._float64(item.network)
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    search.attained_margins(item.network, item.x[:1], item.labels[:1], item.ball)
    hook.remove()
    points = torch.cat(seen)
    assert len(points) > 1000
    assert all(in_ball(point, item.x[0], item.ball) for point in points[:: len(points) // 500])


def test_networks_and_inputs_are_what_they_claim() -> None:
    for name in (*ORDINARY, "large", "odd"):
        x, labels = inputs_of(name)
        margins = least_margin(logits64(tiny_network(name), x), labels)
        assert float(margins.min()) > 0.05
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
    with pytest.raises(UnknownName, match="did you mean mlp"):
        tiny_network("mpl")
    with pytest.raises(InvalidInput, match="network/norm/radius"):
        case("mlp/linf")


def test_permuted_classes_permute_the_logits() -> None:
    network, (x, _) = tiny_network("deep"), inputs_of("deep")
    order = [2, 0, 3, 1]
    permuted = with_permuted_classes(network, order)
    assert torch.equal(logits64(permuted, x), logits64(network, x)[:, order])


def test_budget_counts_the_work_and_not_the_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(cases_module.time, "monotonic", lambda: clock[0])

    def supply() -> Iterator[int]:
        for item in range(10):
            clock[0] += 100.0  # producing an item takes long, and is free
            yield item

    done = []
    for item in within_budget(supply()):
        done.append(item)
        clock[0] += 0.3 * cases_module.BUDGET_SECONDS
    assert done == [0, 1, 2, 3]
    slow = []
    for item in within_budget(range(10)):
        slow.append(item)
        clock[0] += 60.0
    assert len(slow) == cases_module.AT_LEAST


def test_cases_cover_every_network_and_norm_first() -> None:
    found: list[Case] = cases(["linf", "l2"])
    assert {item.name.split("/")[0] for item in found[: len(ORDINARY)]} == set(ORDINARY)
    assert len({item.name for item in found}) == len(found)
    assert any(item.ball.low is None for item in found)
