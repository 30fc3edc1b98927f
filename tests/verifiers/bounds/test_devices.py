"""Every tensor of back-substitution is made where its graph is: the code that runs on a GPU is the code tested here.

Inside `torch.device("meta")` a tensor that is made without saying where has no values, and using it with those of the
graph fails.
"""

from __future__ import annotations

import pytest
import torch

from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import convolutional, dense, graph_for
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.bounds.plans import PLANS

BACKWARD = [name for name, plan in PLANS.items() if plan.domain is None]


@pytest.mark.parametrize("plan", BACKWARD)
@pytest.mark.parametrize("ball", [Ball("linf", 0.1, 0.0, 1.0), Ball("l2", 0.4, 0.0, 1.0), Ball("l1", 0.5)], ids=str)
def test_no_tensor_is_made_elsewhere(plan: str, ball: Ball) -> None:
    for module, shape in ((convolutional(seed=1), (2, 6, 6)), (dense([4, 30, 30, 3], seed=2), (4,))):
        graph = graph_for(module, shape)
        x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        labels = torch.tensor([0, 1, 2])
        _ = graph.magnitudes, graph.gains
        wanted = margin_bounds(graph, x, labels, ball, plan)
        with torch.device("meta"):
            found = margin_bounds(graph, x, labels, ball, plan)
            sides = preactivation_bounds(graph, x[:1], ball, plan)
        assert torch.equal(found, wanted)
        assert all(side.device.type == "cpu" for interval in sides for side in interval)


def test_the_device_of_a_graph() -> None:
    graph = graph_for(dense([2, 3, 2], seed=0), (2,))
    assert graph.device.type == "cpu"
    assert graph.cast(device="meta").device.type == "meta"


def test_convolutions_are_sums_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN may use FFT or Winograd, which the error analysis excludes: it is off while bounds are made."""
    seen: list[bool] = []

    def watched(*arguments: object) -> None:
        seen.append(torch.backends.cudnn.enabled)
        raise InterruptedError

    monkeypatch.setattr("verifiers.bounds.run", watched)
    graph, x = graph_for(convolutional(seed=1), (2, 6, 6)), torch.rand(1, 2, 6, 6)
    before = torch.backends.cudnn.enabled
    for bound in (
        lambda: margin_bounds(graph, x, torch.tensor([0]), Ball("linf", 0.1)),
        lambda: preactivation_bounds(graph, x, Ball("linf", 0.1)),
    ):
        with pytest.raises(InterruptedError):
            bound()
    assert seen == [False, False]
    assert torch.backends.cudnn.enabled == before
