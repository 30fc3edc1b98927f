"""How many samples it takes to decide certified accuracy at the six radii of the SoK's Table IV, against fixed n.

Repeat with: python bench/deciding.py
On images:   python bench/deciding.py --model mnist5k/cnn_a/gaussian050 --sigma 0.5 --images 50

Every test sees the very samples of fixed n, stage by stage (the first ones of a stream are what a shorter pass draws),
so verdicts can differ because of the shares of alpha alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.special import ndtr

import sokbench
from randomized_smoothing.confidence import lower_bound
from randomized_smoothing.deciding import Ledger, thresholds_of
from randomized_smoothing.noise import Gaussian
from randomized_smoothing.sampling import Request, Stream, count_classes
from randomized_smoothing.sequential import AlphaSpending, Betting, SequentialTest, geometric_stages
from randomized_smoothing.stopping import stopping
from sokbench import data
from sokbench.data.subset import select
from sokbench.networks import load_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

RADII: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
CERTIFIERS: Final = ("neyman_pearson", "pixel_dp")
ALPHA: Final = 0.001
TESTS: Final = (AlphaSpending, Betting)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a network of the zoo; without one, 5,000 simulated inputs")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--n", type=int, default=100_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stages, noise = geometric_stages(options.n), Gaussian(options.sigma)
    if options.model:
        hits, right = _on_images(options.model, noise, options.images, stages)
    else:
        hits, right = _simulated(stages)
    print(f"{len(hits):,} inputs, n = {options.n:,}, alpha = {ALPHA}, sigma = {options.sigma}; target: a third of n")
    for slug in CERTIFIERS:
        _report((slug,), hits, right, stages, noise)
    _report(CERTIFIERS, hits, right, stages, noise)


def _simulated(stages: Sequence[int]) -> tuple[Integers, Booleans]:
    """Inputs at all distances, from hopeless to unanimous."""
    p = ndtr(np.random.default_rng(1).uniform(-1, 4.5, 5000))
    steps = np.random.default_rng(4).binomial(np.diff([0, *stages])[:, None], p)
    return steps.cumsum(axis=0).T, np.ones(len(p), dtype=bool)


def _on_images(name: str, noise: Gaussian, images: int, stages: Sequence[int]) -> tuple[Integers, Booleans]:
    """(hits (images, stages) of the class that 1,000 samples select, whether it is the label) on test images."""
    network, split = load_network(name), data.load(name.split("/")[0]).test
    hits, right = [], []
    for index in select(f"stride:{images}", len(split.labels)):
        x = torch.from_numpy(split.image(index))
        requests = [Request(x, Stream(0, index, "selection"), 0, 1000)]
        requests += [
            Request(x, Stream(0, index, "estimation"), start, stop)
            for start, stop in zip((0, *stages[:-1]), stages, strict=True)
        ]
        selection, *estimation = count_classes(network, noise, requests)
        top = int(selection.argmax())
        hits.append(np.array(estimation)[:, top].cumsum())
        right.append(top == int(split.labels[index]))
    return np.array(hits), np.array(right)


def _report(slugs: Sequence[str], hits: Integers, right: Booleans, stages: Sequence[int], noise: Gaussian) -> None:
    certifiers = [sokbench.certifier(slug) for slug in slugs]
    n, name = stages[-1], " and ".join(slugs)
    rule = stopping([(certifier, RADII) for certifier in certifiers], noise, n, ALPHA)
    fixed = lower_bound(hits[:, -1], n, ALPHA)[:, None] >= rule.thresholds
    accuracy = (fixed & right[:, None]).mean(axis=0)
    print(f"\n{name}: certified accuracy with fixed n {' '.join(f'{share:.3f}' for share in accuracy)}")
    for kind in TESTS if len(slugs) == 1 else ():
        ledger = _decided(kind(tuple(stages), ALPHA, ALPHA), hits, thresholds_of(certifiers[0], noise, RADII))
        _line(kind.__name__, ledger.samples() / n, ledger.certified != fixed)
    last = [next((s for s in range(len(stages)) if rule.decided(int(k[s]), s)), len(stages) - 1) for k in hits]
    bounds = [lower_bound(int(k[s]), stages[s], rule.test.level(s, ALPHA)) for k, s in zip(hits, last, strict=True)]
    answers = np.array(bounds)[:, None] >= rule.thresholds
    _line("passes that may stop", np.array([stages[s] for s in last]) / n, answers != fixed)


def _decided(test: SequentialTest, hits: Integers, thresholds: NDArray[np.float64]) -> Ledger:
    ledger = Ledger(test, len(hits), thresholds)
    for stage in range(len(test.stages)):
        going = ledger.open()
        ledger.look(going, stage, hits[going, stage])
    return ledger


def _line(name: str, share: NDArray[np.float64], differ: Booleans) -> None:
    print(f"  {name:<22} {share.mean():.3f} of the samples, {differ.sum()} of {differ.size} verdicts differ")


if __name__ == "__main__":
    main()
