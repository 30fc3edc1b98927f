"""auto_LiRPA where it is installed; a stand-in with its interface, exact on linear networks, where it is not."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sokbench


class BoundedTensor:
    def __init__(self, data: Tensor, ptb: Any) -> None:
        self.data, self.ptb = data, ptb


class BoundedModule:
    """Bounds of C (W x + b), exact."""

    def __init__(self, model: nn.Module, global_input: Tensor, bound_opts: dict[str, Any], device: str) -> None:
        self.model, self.options = model, bound_opts

    def compute_bounds(self, x: tuple[BoundedTensor], C: Tensor, method: str, bound_upper: bool) -> tuple[Tensor, None]:
        (point,) = x
        rows = C @ self.model.weight
        offset = C @ self.model.bias
        if point.ptb.norm == torch.inf:
            centre, radius = (point.ptb.x_L + point.ptb.x_U) / 2, (point.ptb.x_U - point.ptb.x_L) / 2
            worst = (rows.abs() * radius[:, None]).sum(-1)
        else:
            centre, dual = point.data, {2.0: 2.0, 1.0: torch.inf}[point.ptb.norm]
            worst = point.ptb.eps * torch.linalg.vector_norm(rows, ord=dual, dim=-1)
        return (rows * centre[:, None]).sum(-1) + offset - worst, None


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("auto_LiRPA")
    module.BoundedTensor, module.BoundedModule = BoundedTensor, BoundedModule  # type: ignore[attr-defined]
    module.PerturbationLpNorm = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "auto_LiRPA", module)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_margins_are_the_library_s_in_our_order(stand_in: None, norm: str):
    torch.manual_seed(0)
    net = sokbench.load_network(nn.Linear(4, 3), input_shape=(4,))
    ball = sokbench.Ball(norm, 0.2, 0.0, 1.0)
    x, labels = torch.rand(5, 4), torch.tensor([0, 1, 2, 1, 0])
    margins = sokbench.method("auto_lirpa").margins(net, x, labels, ball)
    exact = sokbench.method("crown").margins(net, x, labels, sokbench.Ball(norm, 0.2, 0.0, 1.0))
    assert margins.shape == (5, 3)
    assert margins.gather(1, labels[:, None]).isinf().all()
    finite = ~margins.isinf()
    if norm == "linf":
        assert torch.allclose(margins[finite], exact[finite], atol=1e-5)
    assert bool((margins[finite] <= exact[finite] + 1e-5).all())


def test_parameters_are_checked():
    with pytest.raises(sokbench.InvalidInput, match="no algorithm 'FROWN'; choose from IBP"):
        sokbench.method("auto_lirpa", algorithm="FROWN")
    with pytest.raises(sokbench.InvalidInput, match="iterations"):
        sokbench.method("auto_lirpa", iterations=0)


def test_without_the_package_there_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    net = sokbench.load_network(nn.Linear(4, 3), input_shape=(4,))
    problem = sokbench.Problem(net, x := torch.rand(4), int(net(x[None]).argmax()), sokbench.Ball("linf", 0.1))
    if importlib.util.find_spec("auto_LiRPA") is None:
        outcome = sokbench.method("auto_lirpa").verify(problem)
        assert outcome.termination == "unsupported"
        assert "cannot be imported" in outcome.stats["reason"]
    monkeypatch.setitem(sys.modules, "auto_LiRPA", None)
    assert "cannot be imported" in sokbench.method("auto_lirpa").verify(problem).stats["reason"]
