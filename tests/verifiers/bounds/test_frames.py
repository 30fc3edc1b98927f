"""Rows on windows: where they lie, and that bounds are those of full rows."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import Skip, graph_for, points_in
from verifiers.bounds import margin_bounds, preactivation_bounds, targets
from verifiers.bounds.frames import Frame, frames_below
from verifiers.bounds.targets import Target
from verifiers.graph.convolution import Conv2d


def conv(into: int, out: int, kernel: int, stride: int = 1, padding: int = 0, **options: int) -> list[nn.Module]:
    return [nn.Conv2d(into, out, kernel, stride, padding, **options), nn.ReLU()]


NETWORKS = {
    "halving": [*conv(1, 3, 4, 2, 1), *conv(3, 4, 4, 2, 1), *conv(4, 3, 3, 1, 1)],
    "odd strides": [*conv(1, 3, 3, 2), *conv(3, 2, 2, 1, 1), *conv(2, 3, 3, 3, 2)],
    "no ReLU between": [*conv(1, 3, 3, 1, 1), nn.Conv2d(3, 4, 3, 2, 1), *conv(4, 3, 2, 1, 1), nn.AvgPool2d(2, 2, 1)],
    "dilated, grouped": [*conv(1, 4, 3, 1, 1), *conv(4, 4, 3, 1, 2, dilation=2), *conv(4, 4, 3, 2, 1, groups=2)],
    "residual": [
        *conv(1, 3, 3, 1, 1), Skip(nn.Sequential(*conv(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1))), nn.ReLU(),
        Skip(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3))), nn.ReLU(),
    ],
    "pooled": [*conv(1, 3, 3, 1, 1), nn.AvgPool2d(2), *conv(3, 3, 3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.Sigmoid()],
}  # fmt: skip


def network(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    body = deepcopy(nn.Sequential(*NETWORKS[name], nn.Flatten()))
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_()
    size = body.eval()(torch.zeros(1, 1, 12, 12)).shape[1]
    return nn.Sequential(body, nn.Linear(size, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


def all_bounds(module: nn.Module, x: Tensor, ball: Ball, plan: str) -> list[Tensor]:
    graph = graph_for(module, (1, 12, 12))
    sides = [side for interval in preactivation_bounds(graph, x, ball, plan) for side in interval]
    return [margin_bounds(graph, x, torch.arange(len(x)) % 3, ball, plan)[:, :3], *sides]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ball", [Ball("linf", 0.05, 0.0, 1.0), Ball("l2", 0.3)], ids=["linf", "l2"])
def test_windows_change_nothing(name: str, ball: Ball, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = network(name), torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    plans = ("crown", "fastlin")
    windowed = [all_bounds(module, x, ball, plan) for plan in plans]
    with monkeypatch.context() as patch:
        patch.setattr(targets, "frames_below", lambda graph, index, start, box: {index: None})
        full = [all_bounds(module, x, ball, plan) for plan in plans]
    for found, wanted in zip(windowed, full, strict=True):
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)
    graph = graph_for(module, (1, 12, 12))
    values = graph.values(points_in(x[0], ball, 300))
    for place, relu in enumerate(graph.relus):
        value = values[graph.nodes[relu].inputs[0]]
        lower, upper = windowed[0][1 + 2 * place][0], windowed[0][2 + 2 * place][0]
        assert bool((lower <= value.amin(dim=0)).all())
        assert bool((upper >= value.amax(dim=0)).all())


def test_networks_are_kept_on_windows() -> None:
    """Otherwise the test above would compare full rows with full rows."""
    for name in NETWORKS:
        graph = graph_for(network(name), (1, 12, 12))
        inputs = [graph.nodes[i].inputs[0] for i in graph.nonlinear]
        kept = [i for i in inputs if Target.of(graph, i, True).patches is not None]
        assert len(kept) >= 2, name


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_window_is_where_the_adjoint_is_not_zero(stride: int, padding: int) -> None:
    first = Conv2d(torch.ones(1, 1, 3, 3), None, (stride, 1), (padding, padding))
    second = Conv2d(torch.ones(1, 1, 2, 2), None, (1, stride), (0, padding), (1, 2))
    x = torch.zeros(1, 1, 15, 15)
    middle = first.linear(x)
    out = second.linear(middle)
    frame = Frame().below(second).below(first)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            unit = torch.zeros_like(out)
            unit[0, 0, row, column] = 1
            pulled = first.adjoint(second.adjoint(unit, (1, *middle.shape[2:])), (1, 15, 15))
            for axis, place in enumerate((row, column)):
                start = place * frame.jump[axis] + frame.shift[axis]
                touched = pulled[0, 0].sum(dim=1 - axis).nonzero().squeeze(1)
                assert int(touched.min()) == max(start, int(touched.min()))
                assert int(touched.max()) < start + frame.size[axis]
                if start >= 0 and start + frame.size[axis] <= 15:
                    assert (int(touched.min()), int(touched.max()) + 1) == (start, start + frame.size[axis])


def test_union() -> None:
    a, b = Frame((3, 3), (2, 2), (-1, 0)), Frame((2, 5), (2, 2), (0, -2))
    assert a.union(b) == b.union(a) == Frame((3, 5), (2, 2), (-1, -2))
    assert a.union(Frame((3, 3), (1, 1), (0, 0))) is None


def test_windows_that_cover_the_map_are_full() -> None:
    graph = graph_for(network("halving"), (1, 12, 12))
    last = graph.nodes[graph.relus[2]].inputs[0]
    frames = frames_below(graph, last, Frame(), True)
    assert frames[last] == Frame()
    assert frames[0] is None  # 18 x 18 of 12 x 12
    assert frames_below(graph, graph.nodes[graph.relus[1]].inputs[0], Frame(), False)[0] is None
