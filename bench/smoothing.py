"""How fast randomized smoothing is, against its targets. Repeat with: python bench/smoothing.py

Measures the throughput of the sampling pass against plain forward passes of the same batches, side by side, and what
all certifiers of a noise together add to their sampling pass. How many samples decisions take: bench/deciding.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn

import sokbench
from models.residual import layers
from randomized_smoothing.noise import EXAMPLES, Gaussian, Laplace, Noise, Uniform
from randomized_smoothing.sampling import Stream, class_counts, rows_per_batch
from randomized_smoothing.sampling_pass import Image, SamplingPass
from sokbench.core.certifier import Certifier
from sokbench.core.errors import Unsupported
from sokbench.core.network import Network, network_from_module
from sokbench.core.registry import catalog
from sokbench.networks import load_network

if TYPE_CHECKING:
    Figure = tuple[str, float, str, str]

N: Final = 100_000
ALPHA: Final = 0.001
SECONDS: Final = 0.25
CLOCKS: Final = {
    "wall": "target >= 0.95",
    "calling thread": "wall, if a core is free to draw",
    "all threads": "wall, if none is",
}
STREAM: Final = Stream(0, 0, "estimation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="pairs of timings per network")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = [*throughput(options.repeats), *overhead()]
    if options.json:
        print(json.dumps({name: value for name, value, _, _ in figures}, indent=1))
        return
    for name, value, unit, target in figures:
        print(f"{name:<72} {value:>10.4g} {unit:<14} {target}")
    print(f"\nload of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def throughput(repeats: int) -> list[Figure]:
    """Sampling against plain forward passes in turns, by the clock and by the processor time of threads."""
    figures: list[Figure] = []
    networks = [load_network(name) for name in ("mnist5k/cnn_a/gaussian025", "cifar10/conv_s/gaussian025")]
    for network in (*networks, _resnet110()):
        x = torch.rand(network.input_shape, generator=torch.Generator().manual_seed(0))
        rows = rows_per_batch(network, x)
        batch = x + 0.25 * torch.randn(rows, *x.shape)
        class_counts(network, x, Gaussian(0.25), rows, STREAM)  # after this the process keeps its memory
        forward = _best(partial(_forward, network, batch, 1), 3)
        # a thread and two buffers are made for each pass: real ones take a second
        turns = max(2, round(SECONDS / forward))
        figures.append(
            (f"a forward pass per sample, {network.name}, batches of {rows}", 1e6 * forward / rows, "us", "")
        )
        for noise in (Gaussian(0.25), Laplace(0.25), Uniform(0.25)):
            plain, sampled, half = (
                partial(_forward, network, batch, turns),
                partial(class_counts, network, x, noise, turns * rows, STREAM),
                partial(class_counts, network, x, noise, turns * rows, STREAM, "bfloat16"),
            )
            ratios = _ratios(plain, sampled, repeats)
            for (what, target), ratio in zip(CLOCKS.items(), ratios, strict=True):
                name = f"sampling / forward throughput, {network.name}, {noise.kind}, {what}"
                figures.append((name, ratio, "", target))
        name = f"sampling in bfloat16 / forward throughput in float32, {network.name}, all threads"
        figures.append((name, _ratios(plain, half, min(repeats, 3))[-1], "", ""))
    return figures


def _forward(network: Network, batch: torch.Tensor, turns: int) -> None:
    with torch.no_grad():
        for _ in range(turns):
            network(batch)


def _resnet110() -> Network:
    """Random weights: they take as long as trained ones."""
    torch.manual_seed(0)
    module = nn.Sequential(*layers("resnet110", (3, 32, 32), 10))
    return network_from_module(module, "resnet110, random weights", (3, 32, 32))


def overhead() -> list[Figure]:
    """All certifiers of Gaussian noise on one input's counts, over sampling n = 100,000 of the small network."""
    network = load_network("mnist5k/cnn_a/gaussian025")
    x, noise = torch.rand(network.input_shape), Gaussian(0.25)
    rows = rows_per_batch(network, x)
    seconds = _best(lambda: class_counts(network, x, noise, 4 * rows, STREAM), 5) / (4 * rows) * N
    plain, summing = (
        lambda statistics=statistics: SamplingPass(Image(network, x, noise, 0, 0), 1, 8 * rows, None, statistics).run()
        for statistics in (False, True)
    )
    cost = _ratios(summing, plain, 9)[-1]
    figures: list[Figure] = [("a pass with statistics / without, processor time", cost, "", "")]
    for number, example in enumerate(EXAMPLES):
        certifiers = [entry for entry in map(sokbench.certifier, catalog("certifier")) if _takes(entry, example)]
        inputs = iter(range(90_000 + 100 * number, N))  # other counts every time, as other inputs have

        def answer(
            certifiers: Sequence[Certifier] = certifiers, noise: Noise = example, inputs: Iterator[int] = inputs
        ) -> None:
            hits = next(inputs)
            counts = np.array([hits, N - hits, *[0] * 8])
            for certifier in certifiers:
                certifier.certify(counts, counts, noise, ALPHA)

        name = f"{len(certifiers)} certifiers of {example.kind} noise / sampling n = {N}"
        figures.append((name, _best(answer, 9) / seconds, "", "target <= 0.01"))
    return figures


def _ratios(first: Callable[[], object], second: Callable[[], object], repeats: int) -> list[float]:
    """Least time of the first action over that of the second, by each of the clocks; taken in turns so that both meet
    the same neighbours."""
    seconds: tuple[list[list[float]], list[list[float]]] = ([], [])
    for _ in range(repeats):
        for action, kept in zip((first, second), seconds, strict=True):
            started = _now()
            action()
            kept.append([now - then for now, then in zip(_now(), started, strict=True)])
    return [min(a) / min(b) for a, b in zip(*(zip(*kept, strict=True) for kept in seconds), strict=True)]


def _now() -> tuple[float, float, float]:
    return time.perf_counter(), time.thread_time(), time.process_time()


def _best(action: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _takes(certifier: Certifier, noise: Noise) -> bool:
    try:
        certifier.radius(0.9, None, noise)
    except Unsupported:
        return False
    return True


if __name__ == "__main__":
    main()
