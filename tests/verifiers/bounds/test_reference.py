"""Bounds of an independent implementation (auto_LiRPA 0.7.1, float64), where the reference files are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sokbench.core.problem import Ball
from tests.verifiers.bounds.nets import graph_for
from verifiers.bounds import margin_bounds, preactivation_bounds
from verifiers.bounds.plans import Plan
from verifiers.bounds.relaxations import ADAPTIVE_TIE_ZERO, ONE, PARALLEL, ZERO

DATA = os.environ.get("SOKBENCH_DATA")
FOLDER = Path(DATA or ".").parent / "reference" / "bounds" / "rand_bn_avgpool"
RELAXATIONS = {"adaptive": ADAPTIVE_TIE_ZERO, "zero-lb": ZERO, "one-lb": ONE, "same-slope": PARALLEL}

pytestmark = pytest.mark.skipif(DATA is None or not FOLDER.is_dir(), reason="no reference bounds beside SOKBENCH_DATA")


class Replay(nn.Module):
    """conv, batch norm, ReLU, average pool, conv, ReLU, linear, from arch.json and weights.npz."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = json.loads((FOLDER / "arch.json").read_text())["nodes"]
        weights = np.load(FOLDER / "weights.npz").items()
        held = {key.replace(".", "/"): nn.Parameter(torch.tensor(value), requires_grad=False) for key, value in weights}
        self.parts = nn.ParameterDict(held)

    def forward(self, x: Tensor) -> Tensor:
        F = nn.functional
        for step in self.steps:
            part = {k.split("/")[1]: v for k, v in self.parts.items() if k.startswith(f"{step['name']}/")}
            if step["op"] == "conv":
                x = F.conv2d(x, part["weight"], part.get("bias"), step["stride"], step["padding"])
            elif step["op"] == "batchnorm":
                x = F.batch_norm(x, part["mean"], part["var"], part["weight"], part["bias"], False, 0.0, step["eps"])
            elif step["op"] == "avgpool":
                x = F.avg_pool2d(x, step["kernel"], step["stride"])
            elif step["op"] == "linear":
                x = F.linear(x, part["weight"], part.get("bias"))
            else:
                x = {"relu": F.relu, "flatten": lambda v: v.flatten(1)}[step["op"]](x)
        return x


def test_margins() -> None:
    graph = graph_for(Replay().eval(), (3, 8, 8))
    inputs, reference = np.load(FOLDER / "inputs.npz"), np.load(FOLDER / "bounds.npz")
    x, labels = torch.tensor(inputs["X"]), torch.tensor(inputs["y"])
    compared = 0
    for key in reference.files:
        if not key.endswith("|lb"):
            continue
        norm, radius, method, option, _ = key.split("|")
        if method not in ("IBP", "CROWN-IBP", "CROWN", "CROWN2"):
            continue
        plan = Plan(
            None if method == "IBP" else RELAXATIONS[option],
            intermediate=method.startswith("CROWN") and method != "CROWN-IBP",
        )
        ball = Ball("linf" if norm == "inf" else "l2", float(radius))
        found = margin_bounds(graph, x[: len(reference[key])], labels[: len(reference[key])], ball, plan)
        ours = found[found.isfinite()].reshape(reference[key].shape).numpy()
        assert (ours >= reference[key] - 1e-9).all(), (key, (ours - reference[key]).min())
        if method == "IBP" and norm == "inf":
            assert np.allclose(ours, reference[key], atol=1e-9)
        compared += 1
    assert compared >= 27


def test_intermediate_bounds() -> None:
    """Where the reference's neurons are unstable; stable ones keep our intervals."""
    graph = graph_for(Replay().eval(), (3, 8, 8))
    inputs, reference = np.load(FOLDER / "inputs.npz"), np.load(FOLDER / "bounds.npz")
    x = torch.tensor(inputs["X"][:2])
    for norm, radius in (("inf", "0.02"), ("inf", "0.1"), ("2", "0.5")):
        ball = Ball("linf" if norm == "inf" else "l2", float(radius))
        plan = Plan(ADAPTIVE_TIE_ZERO, intermediate=True)
        for i, (lower, upper) in enumerate(preactivation_bounds(graph, x, ball, plan)):
            low, up = reference[f"interm|{norm}|{radius}|{i}|l"], reference[f"interm|{norm}|{radius}|{i}|u"]
            unstable = (low < 0) & (up > 0)
            assert (lower.numpy() >= low - 1e-9)[unstable].all()
            assert (upper.numpy() <= up + 1e-9)[unstable].all()
