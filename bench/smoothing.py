"""How fast randomized smoothing is, against its targets. Repeat with: python bench/smoothing.py

Measures the throughput of the sampling pass against plain forward passes of the same batches, side by side; how many
samples sequential tests take to decide certified accuracy at six radii, against fixed n with the same alpha; and what
all certifiers of a noise together add to their sampling pass.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.special import ndtr
from torch import nn

import sokbench
from randomized_smoothing.confidence import lower_bound
from randomized_smoothing.deciding import Ledger, thresholds_of
from randomized_smoothing.noise import EXAMPLES, Gaussian, Laplace, Noise, Uniform
from randomized_smoothing.sampling import Stream, class_counts, rows_per_batch
from randomized_smoothing.sampling_pass import Image, SamplingPass
from randomized_smoothing.sequential import AlphaSpending, Betting, SequentialTest, geometric_stages
from randomized_smoothing.stopping import stopping
from sokbench.core.certifier import Certifier
from sokbench.core.errors import Unsupported
from sokbench.core.network import Network, network_from_module
from sokbench.core.registry import catalog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Figure = tuple[str, float, str, str]

RADII: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""The radii of the SoK's Table IV."""
N: Final = 100_000
ALPHA: Final = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="pairs of timings per network")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = [*throughput(options.repeats), *samples_to_decide(), *overhead()]
    if options.json:
        print(json.dumps({name: value for name, value, _, _ in figures}, indent=1))
        return
    for name, value, unit, target in figures:
        print(f"{name:<72} {value:>10.4g} {unit:<14} {target}")
    print(f"\nload of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def throughput(repeats: int) -> list[Figure]:
    """Sampling against plain forward passes in turns, by the clock and by the processor time of threads."""
    figures: list[Figure] = []
    for network in (_network("mnist, small", (1, 28, 28), 16), _network("cifar10, wider", (3, 32, 32), 64)):
        x = torch.rand(network.input_shape, generator=torch.Generator().manual_seed(0))
        rows = rows_per_batch(network, x)
        batch = x + 0.25 * torch.randn(rows, *x.shape)
        turns = max(2, 2048 // rows)
        for noise in (Gaussian(0.25), Laplace(0.25), Uniform(0.25)):

            def plain(network: Network = network, batch: torch.Tensor = batch, turns: int = turns) -> None:
                with torch.no_grad():
                    for _ in range(turns):
                        network(batch)

            def sampled(
                network: Network = network,
                x: torch.Tensor = x,
                noise: Noise = noise,
                n: int = turns * rows,
            ) -> None:
                class_counts(network, x, noise, n, Stream(0, 0, "estimation"))

            for clock, what, target in (
                (time.perf_counter, "wall", "target >= 0.95"),
                (time.thread_time, "calling thread", "wall, if a core is free to draw"),
                (time.process_time, "all threads", "wall, if none is"),
            ):
                name = f"sampling / forward throughput, {network.name}, {noise.kind}, {what}"
                figures.append((name, _ratio(plain, sampled, repeats, clock), "", target))
    return figures


def samples_to_decide() -> list[Figure]:
    """Mean samples per input over fixed n; inputs at all distances, from hopeless to unanimous."""
    p = ndtr(np.random.default_rng(1).uniform(-1, 4.5, 5000))
    thresholds = thresholds_of(sokbench.certifier("neyman_pearson"), Gaussian(0.5), RADII)
    fixed = lower_bound(np.random.default_rng(2).binomial(N, p), N, ALPHA)[:, None] >= thresholds
    figures: list[Figure] = []
    stages = geometric_stages(N)
    for test in (AlphaSpending(stages, ALPHA, ALPHA), Betting(stages, ALPHA, ALPHA)):
        ledger = _simulated(test, p, thresholds)
        name = type(test).__name__
        figures += [
            (f"samples to decide six radii / fixed n, {name}", ledger.samples().mean() / N, "", "target <= 0.333"),
            (f"verdicts that differ from another run of fixed n, {name}", _differ(ledger.certified, fixed), "", ""),
        ]
    figures += _stopped(p, fixed)
    again = lower_bound(np.random.default_rng(3).binomial(N, p), N, ALPHA)[:, None] >= thresholds
    figures.append(("verdicts that differ between two runs of fixed n", _differ(again, fixed), "", "for comparison"))
    return figures


def _stopped(p: NDArray[np.float64], fixed: NDArray[np.bool_]) -> list[Figure]:
    """The same for the passes of the runner, which look at the latest stage only, and for two certifiers at once."""
    figures: list[Figure] = []
    for slugs in (("neyman_pearson",), ("neyman_pearson", "pixel_dp")):
        rule = stopping([(sokbench.certifier(slug), RADII) for slug in slugs], Gaussian(0.5), N, ALPHA)
        stages = np.array(rule.test.stages)
        rng = np.random.default_rng(5)
        hits = rng.binomial(np.diff([0, *stages])[:, None], p).cumsum(axis=0)
        decided = np.array([[rule.decided(int(k), i) for k in row] for i, row in enumerate(hits[:, :500])])
        last = np.where(decided.any(axis=0), decided.argmax(axis=0), len(stages) - 1)
        name = f"samples of passes that may stop / fixed n, six radii of {' and '.join(slugs)}"
        figures.append((name, stages[last].mean() / N, "", "target <= 0.333"))
        if len(slugs) == 1:
            levels = [rule.test.level(i, ALPHA) for i in last]
            bounds = [
                float(lower_bound(int(hits[i, k]), int(stages[i]), level))
                for k, (i, level) in enumerate(zip(last, levels, strict=True))
            ]
            differ = _differ(np.array(bounds)[:, None] >= rule.thresholds, fixed[:500])
            figures.append(("verdicts of such passes that differ from another run of fixed n", differ, "", ""))
    return figures


def overhead() -> list[Figure]:
    """All certifiers of Gaussian noise on one input's counts, over sampling n = 100,000 of the small network."""
    network = _network("mnist, small", (1, 28, 28), 16)
    x, noise = torch.rand(network.input_shape), Gaussian(0.25)
    rows = rows_per_batch(network, x)
    seconds = _best(lambda: class_counts(network, x, noise, 4 * rows, Stream(0, 0, "estimation")), 5) / (4 * rows) * N
    plain, summing = (
        lambda statistics=statistics: SamplingPass(Image(network, x, noise, 0, 0), 1, 8 * rows, None, statistics).run()
        for statistics in (False, True)
    )
    cost = _ratio(summing, plain, 9, time.process_time)
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


def _network(name: str, shape: tuple[int, int, int], width: int) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(shape[0], width, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * (shape[1] // 4) ** 2, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    return network_from_module(module, name, shape)


def _ratio(
    first: Callable[[], object], second: Callable[[], object], repeats: int, clock: Callable[[], float]
) -> float:
    """Least time of the first action over that of the second, taken in turns so that both meet the same neighbours."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for action, kept in zip((first, second), seconds, strict=True):
            started = clock()
            action()
            kept.append(clock() - started)
    return min(seconds[0]) / min(seconds[1])


def _best(action: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _simulated(test: SequentialTest, p: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Ledger:
    rng = np.random.default_rng(4)
    ledger, successes, drawn = Ledger(test, len(p), thresholds), np.zeros(len(p), dtype=np.int64), 0
    for stage, n in enumerate(test.stages):
        successes += rng.binomial(n - drawn, p)
        drawn, going = n, ledger.open()
        ledger.look(going, stage, successes[going])
    return ledger


def _differ(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a != b).mean())


def _takes(certifier: Certifier, noise: Noise) -> bool:
    try:
        certifier.radius(0.9, None, noise)
    except Unsupported:
        return False
    return True


if __name__ == "__main__":
    main()
