"""What a bound costs: CPU milliseconds per input on one thread, the peer's figure, and the least it could cost.

Repeat with: SOKBENCH_DATA=<data> python bench/bounds.py [--networks cifar_base ...] [--plot cost.svg]

Networks: `cifar_base` and `mnist_256x6` of VNN-COMP 2021 (where SOKBENCH_DATA has them), `mnist_6x100`, trained here
for a few passes over 4,000 images, `wk_mnist`, the shipped CNN_A with its certified training (the architecture of Wong
and Kolter 2018), and CNN_A to CNN_D and FCNN_A to FCNN_C on CIFAR-10 shapes with PyTorch's initial weights (most of
their neurons are unstable, unlike those of trained networks). Times are process CPU time, the median of repeats; a
cell that would take longer than --cell seconds is left out.

floor: the floating point operations of the rows that back-substitution needs (two for each neuron that intervals leave
unstable given the bounds below it, and one for each other class; dense layers in full, convolutions on their windows)
over the rate of a float64 matrix product measured in the same run. x floor: the time over it. Neurons that are off are
left out of dense rows, so that can fall below 1. peer: auto_LiRPA 0.7.1, float32, with glibc kept from returning
memory, measured on the same kind of machine when sgemm ran at 44-52 GFLOP/s; / peer: its time over ours.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sokbench
from models.architectures import ARCHITECTURES, build
from sokbench.core.deadline import Deadline, OutOfTime
from sokbench.core.method import BoundingVerifier
from sokbench.core.network import Network
from sokbench.core.problem import Ball
from sokbench.data import load
from verifiers.bounds.interval import propagate
from verifiers.bounds.plans import PLANS
from verifiers.bounds.propagation import run
from verifiers.bounds.relaxations.nonlinear import needs_rows
from verifiers.bounds.rounding import Outward
from verifiers.bounds.sets.inputs import input_set
from verifiers.bounds.targets import Target
from verifiers.graph import graph_of
from verifiers.graph.convolution import Conv2d
from verifiers.graph.graph import Graph
from verifiers.graph.linear import Linear

PEER = {
    ("cifar_base", "ibp"): {1: 3.1, 10: 0.69, 100: 0.145},
    ("cifar_base", "crown_ibp"): {1: 10.2, 10: 2.2, 100: 1.15},
    ("cifar_base", "crown"): {1: 22.9, 10: 21.0, 100: 21.2},
    ("cifar_base", "alpha_crown"): {1: 666.0},
    ("mnist_6x100", "ibp"): {1: 5.8, 10: 0.65, 100: 0.083},
    ("mnist_6x100", "crown_ibp"): {1: 11.9, 10: 1.27, 100: 0.22},
    ("mnist_6x100", "crown"): {1: 23.5, 10: 8.9, 100: 6.5},
    ("mnist_6x100", "alpha_crown"): {1: 1008.0},
    ("wk_mnist", "ibp"): {1: 5.7, 10: 0.69},
    ("wk_mnist", "crown_ibp"): {1: 10.5, 10: 2.6},
    ("wk_mnist", "crown"): {1: 38.8, 10: 38.7},
}
METHODS = ["ibp", "crown_ibp", "fastlin", "crown", "alpha_crown"]
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.225, 0.225, 0.225)  # what oval21's networks are given


@dataclass(frozen=True, eq=False)
class Case:
    """A network with inputs (B, *shape) and the radius of their l_inf balls."""

    name: str
    network: Network
    x: Tensor
    radius: float


@dataclass(frozen=True)
class Cell:
    """One measurement; times in CPU milliseconds per input, flops per input."""

    network: str
    method: str
    batch: int
    ms: float
    repeats: int
    flops: float
    floor_ms: float
    peer_ms: float | None


def images(dataset: str, count: int) -> Tensor:
    return torch.tensor(load(dataset).test.images[:count]).float()


def cases(names: list[str]) -> Iterator[Case]:
    nets = Path(os.environ.get("SOKBENCH_DATA", "data")) / "vnncomp2021" / "nets"
    if "cifar_base" in names and nets.exists():
        mean, std = (torch.tensor(values)[:, None, None] for values in (CIFAR_MEAN, CIFAR_STD))
        network = sokbench.load_network(str(nets / "oval21" / "cifar_base_kw.onnx"))
        yield Case("cifar_base", network, (images("cifar10", 100) - mean) / std, 0.01)
    if "mnist_256x6" in names and nets.exists():
        network = sokbench.load_network(str(nets / "mnistfc" / "mnist-net_256x6.onnx"))
        yield Case("mnist_256x6", network, images("mnist5k", 100).reshape(-1, *network.input_shape), 0.01)
    if "mnist_6x100" in names:
        network = sokbench.load_network(trained_mlp([100] * 5), input_shape=(1, 28, 28))
        yield Case("mnist_6x100", network, images("mnist5k", 100), 0.01)
    if "wk_mnist" in names:
        yield Case("wk_mnist", sokbench.load_network("mnist5k/cnn_a/cadv"), images("mnist5k", 100), 0.1)
    for name in ARCHITECTURES:
        if name in names:
            torch.manual_seed(0)
            network = sokbench.load_network(build(name, (3, 32, 32), 10), input_shape=(3, 32, 32))
            x = torch.rand(100, 3, 32, 32, generator=torch.Generator().manual_seed(0))
            yield Case(name, network, x, 1 / 255)


def trained_mlp(hidden: list[int]) -> nn.Sequential:
    torch.manual_seed(0)
    widths = [784, *hidden, 10]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    module = nn.Sequential(*layers[:-1])
    train = load("mnist5k").train
    x, y = torch.tensor(train.images).float(), torch.tensor(train.labels).long()
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(10):
        for part in torch.split(torch.randperm(len(x)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(module(x[part]), y[part]))
            optimizer.step()
    return module.eval()


def cpu_seconds(call: Callable[[], Any], budget: float, least: int = 3) -> list[float]:
    """CPU times of repeated calls, for about `budget` seconds; of one alone if that takes longer."""
    times: list[float] = []
    while not times or (sum(times) < budget and len(times) < 200) or (len(times) < least and times[0] < budget):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return times


def product_rate(dtype: torch.dtype, size: int = 512) -> float:
    """FLOP per CPU second of a square matrix product."""
    a, b = torch.rand(2, size, size, dtype=dtype)
    return 2 * size**3 / statistics.median(cpu_seconds(lambda: a @ b, 0.5))


def row_flops(graph: Graph, index: int, is_target: bool = True) -> float:
    """Of one row of node `index` on its way to the input."""
    target = Target.of(graph, index, True) if is_target else None
    frames = {} if target is None or target.patches is None else target.patches.frames
    reached, total = {index}, 0.0
    for i in range(index, 0, -1):
        node = graph.nodes[i]
        if i not in reached:
            continue
        reached.update(node.inputs)
        if i == index and is_target:
            continue  # rows start as rows of its weight
        frame = frames.get(i)
        if isinstance(node.op, Linear):
            total += 2 * math.prod(node.shape[:-1]) * node.op.weight.numel()
        elif isinstance(node.op, Conv2d):
            total += 2 * math.prod(node.shape[1:] if frame is None else frame.size) * node.op.weight.numel()
    return total


def needed_flops(case: Case, method: str, batch: int) -> float:
    """FLOP per input of what a plan needs: see the head of this file. NaN for what is no plan of this engine."""
    if method not in PLANS:
        return math.nan
    graph, plan = graph_of(case.network), PLANS[method]
    forward = 2 * row_flops(graph, graph.output, is_target=False)  # centre and radius
    if plan.relaxation is None:
        return forward
    margins = (graph.num_classes - 1) * row_flops(graph, graph.output, is_target=False)
    if not plan.intermediate:
        return forward + margins
    inputs = input_set(case.x[:batch].double(), Ball("linf", case.radius))
    with torch.no_grad():
        found, _ = run(graph, inputs, plan, Outward(), graph.magnitudes, Deadline())
        total = 0.0
        for i in graph.relus:
            index = graph.nodes[i].inputs[0]
            sources = [found.intervals[j] for j in graph.nodes[index].inputs]
            size = partial(found.size, graph.nodes[index].inputs[0])
            loose = propagate(graph, index, sources, graph.magnitudes[index], size, Outward())
            exact = not any(isinstance(graph.nodes[j].op, Linear | Conv2d) for j in below(graph, index))
            rows = 0 if exact else int(needs_rows(graph.nodes[i], [loose]).sum())
            total += 2 * rows * row_flops(graph, index)
    return forward + margins + total / batch


def below(graph: Graph, index: int) -> set[int]:
    """The nodes that node `index` depends on."""
    found = set(graph.nodes[index].inputs)
    for i in range(index - 1, 0, -1):
        if i in found:
            found.update(graph.nodes[i].inputs)
    return found


def measure(case: Case, method: str, batch: int, cell: float, rate: float) -> Cell | None:
    with torch.no_grad():
        labels = case.network.module(case.x[:batch]).argmax(dim=1)
    verifier, ball = sokbench.method(method), Ball("linf", case.radius)
    assert isinstance(verifier, BoundingVerifier)
    verifier.prepare(case.network)
    x = case.x[:batch]
    try:
        verifier.margins(case.network, x, labels, ball, deadline=Deadline.after(cell))
    except OutOfTime:
        return None

    def call() -> Tensor:
        return verifier.margins(case.network, x, labels, ball)

    cpu_seconds(call, min(cell / 8, 0.3))  # what a process does first costs more
    times = cpu_seconds(call, min(cell / 4, 2.0))
    flops = needed_flops(case, method, batch)
    peer = PEER.get((case.name, method), {}).get(batch)
    milliseconds = 1e3 * statistics.median(times) / batch
    return Cell(case.name, method, batch, milliseconds, len(times), flops, 1e3 * flops / rate, peer)


def line(cell: Cell) -> str:
    peer = "" if cell.peer_ms is None else f"{cell.peer_ms:9.3f} {cell.peer_ms / cell.ms:6.1f}"
    floor = (
        " " * 26
        if math.isnan(cell.flops)
        else f"{cell.flops / 1e6:9.1f} {cell.floor_ms:8.3f} {cell.ms / cell.floor_ms:7.1f}"
    )
    return f"{cell.network:12} {cell.method:12} {cell.batch:5d} {cell.ms:10.3f} {floor} {peer}"


def plot(path: Path, limit: float) -> None:
    """Cost of IBP, CROWN-IBP and CROWN against depth, width and batch, on dense networks with initial weights."""
    import matplotlib as mpl

    mpl.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt

    sweeps: dict[str, list[tuple[int, int, int, int]]] = {
        "depth (layers of 100)": [(d, d, 100, 3) for d in (2, 3, 4, 6, 8)],
        "width (4 layers)": [(w, 4, w, 3) for w in (50, 100, 200, 400)],
        "batch (4 layers of 100)": [(b, 4, 100, b) for b in (1, 3, 10, 30)],
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, (title, points) in zip(axes, sweeps.items(), strict=True):
        for method, marker in (("ibp", "o"), ("crown_ibp", "s"), ("crown", "^")):
            costs = []
            for _, depth, width, batch in points:
                torch.manual_seed(0)
                widths = [784, *[width] * (depth - 1), 10]
                parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
                network = sokbench.load_network(nn.Sequential(*parts[:-1]), input_shape=(784,))
                cell = measure(Case(title, network, torch.rand(batch, 784), 0.01), method, batch, limit, 1.0)
                costs.append(math.nan if cell is None else cell.ms)
            axis.loglog([point[0] for point in points], costs, marker=marker, label=method.upper().replace("_", "-"))
        axis.set_xlabel(title)
        axis.grid(visible=True, which="both", alpha=0.3)
    axes[0].set_ylabel("CPU ms per input")
    axes[0].legend()
    figure.savefig(path)


def main() -> None:
    names = ["cifar_base", "mnist_256x6", "mnist_6x100", "wk_mnist", *ARCHITECTURES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=names, choices=names, metavar="NAME")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 10, 100])
    parser.add_argument("--cell", type=float, default=60.0, help="seconds that one call may take")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="write cost against depth, width and batch; .svg or .png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates = [product_rate(dtype) for dtype in (torch.float64, torch.float32)]
    print(f"dgemm {rates[0] / 1e9:.1f}, sgemm {rates[1] / 1e9:.1f} GFLOP/s; load {os.getloadavg()[0]:.1f}")
    print("network      method       batch   ms/input    MFLOP  floor ms  x floor    peer ms  / peer")
    cells = []
    for case in cases(arguments.networks):
        for method in arguments.methods:
            for batch in arguments.batches:
                if cell := measure(case, method, batch, arguments.cell, rates[0]):
                    cells.append(cell)
                    print(line(cell), flush=True)
                else:
                    print(f"{case.name:12} {method:12} {batch:5d}  more than {arguments.cell:.0f} s", flush=True)
                    break
    if arguments.json:
        rows = {"dgemm": rates[0], "sgemm": rates[1], "cells": [asdict(cell) for cell in cells]}
        arguments.json.write_text(json.dumps(rows, indent=1))
    if arguments.plot:
        plot(arguments.plot, arguments.cell)


if __name__ == "__main__":
    main()
