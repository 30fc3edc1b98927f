"""Sequential tests: never wrong more often than alpha, and the verdicts of fixed n with far fewer samples."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import binom
from torch import nn

import sokbench
from randomized_smoothing.confidence import lower_bound
from randomized_smoothing.deciding import Ledger, decide_radii, thresholds_of
from randomized_smoothing.noise import Gaussian, Splitting, Uniform
from randomized_smoothing.sampling import Stream, class_counts
from randomized_smoothing.sequential import AlphaSpending, Betting, SequentialTest, _log_wealth, geometric_stages
from sokbench import ABSTAIN, InvalidInput, Unsupported
from sokbench.core.network import network_from_module

TESTS = [AlphaSpending, Betting]


def run(test: SequentialTest, p: Any, thresholds: Any, seed: int = 0) -> Ledger:
    """The test on one simulated classifier per entry of p."""
    rng = np.random.default_rng(seed)
    ledger, successes, drawn = Ledger(test, len(p), thresholds), np.zeros(len(p), dtype=np.int64), 0
    for stage, n in enumerate(test.stages):
        successes += rng.binomial(n - drawn, p)
        drawn, going = n, ledger.open()
        ledger.look(going, stage, successes[going])
    return ledger


@pytest.mark.parametrize("kind", TESTS)
@pytest.mark.parametrize("p", [0.5, 0.9, 0.993])
def test_false_certificates_are_at_most_alpha(kind: Any, p: float) -> None:
    """The linear classifier at distance Phi^-1(p), 10,000 times: radii at and just beyond its own are never certified
    more often than alpha, any of them together; and futility loses what more samples would have certified at most as
    often as it may."""
    alpha, repetitions = 0.02, 10_000
    test = kind(geometric_stages(3000), alpha, alpha)
    thresholds = np.unique([0.5, ndtr(ndtri(p) - 0.1), p, ndtr(ndtri(p) + 0.01), ndtr(ndtri(p) + 0.1)])
    ledger = run(test, np.full(repetitions, p), thresholds)
    wrong = ledger.certified[:, thresholds >= p].any(axis=1).mean()
    assert wrong <= alpha + 3 * np.sqrt(alpha / repetitions)
    patient = run(kind(test.stages, alpha, 1e-300), np.full(repetitions, p), thresholds)
    lost = (patient.certified & ~ledger.certified)[:, thresholds < p].any(axis=1).mean()
    assert lost <= alpha + 3 * np.sqrt(alpha / repetitions)


def test_looking_without_paying_is_wrong_too_often() -> None:
    """What the two tests protect from: the same looks, each at the whole of alpha."""

    class Careless(AlphaSpending):  # type: ignore[misc]
        def level(self, stage: int, total: float) -> float:
            return total

    ledger = run(Careless(geometric_stages(3000), 0.02, 0.02), np.full(10_000, 0.9), np.array([0.9]))
    assert ledger.certified.mean() > 2 * 0.02


@pytest.mark.parametrize("n", [1, 2, 57])
def test_coverage_of_alpha_spending_is_exact(n: int) -> None:
    """All paths of a test with two stages, summed: the chance of a false claim is at most alpha."""
    test = AlphaSpending((n, 3 * n), 0.1, 0.1)
    k = np.arange(n + 1)
    for p in np.linspace(0.01, 0.99, 99):
        first = test.above(k, 0, np.array(p))
        more = np.arange(2 * n + 1)
        second = test.above(k[:, None] + more, 1, np.array(p))
        paths = binom.pmf(k, n, p)[:, None] * binom.pmf(more, 2 * n, p)
        assert paths[first[:, None] | second].sum() <= 0.1


@pytest.mark.parametrize("kind", TESTS)
def test_futility_is_exact(kind: Any) -> None:
    """All paths of a test with two stages, summed: the chance of giving up a claim of the last stage, whatever p is."""
    n, futility, threshold = 60, 0.05, np.array([0.8])
    test = kind((n, 3 * n), 0.05, futility)
    k, more = np.arange(n + 1), np.arange(2 * n + 1)
    given_up = test.below(k[:, None], 0, threshold)
    claimed = test.above((k[:, None] + more)[:, :, None], 1, threshold)[:, :, 0]
    chances = [
        (binom.pmf(k, n, p)[:, None] * binom.pmf(more, 2 * n, p))[given_up & claimed].sum()
        for p in np.linspace(0.7, 0.99, 30)
    ]
    assert 0 < max(chances) <= futility
    # a stage earlier than it takes to refute that p is above the threshold
    assert bool((given_up[:, 0] & (binom.cdf(k, n, 0.8) > futility)).any())


@pytest.mark.parametrize("kind", TESTS)
def test_radii_out_of_reach_are_given_up_and_no_others(kind: Any) -> None:
    """Given up for want of samples exactly where no outcome of the stages to come is claimed."""
    test, thresholds = kind((20, 50, 120), 0.05, 1e-300), np.array([0.6, 0.9, 0.95, 0.999])
    for stage, n in enumerate(test.stages):
        k = np.arange(n + 1)[:, None]
        reached = test.above(k, stage, thresholds)
        for later in range(stage, 3):
            for extra in range(test.stages[later] - n + 1):
                reached = reached | test.above(k + extra, later, thresholds)
        np.testing.assert_array_equal(test.below(k, stage, thresholds), ~reached)
    assert test.below(np.array(20), 0, thresholds).tolist() == [False, False, False, True]


@pytest.mark.parametrize("kind", TESTS)
def test_stages_decide_with_a_third_of_the_samples_and_the_same_verdicts(kind: Any) -> None:
    """Six radii of the field's tables, inputs at all distances, n = 100,000, alpha = 0.001."""
    n, alpha = 100_000, 0.001
    p = ndtr(np.random.default_rng(1).uniform(-1, 4.5, 2000))
    thresholds = thresholds_of(sokbench.certifier("neyman_pearson"), Gaussian(0.5), [0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
    test = kind(geometric_stages(n), alpha, alpha)
    ledger = run(test, p, thresholds)
    assert ledger.samples().mean() < n / 3
    fixed = lower_bound(np.random.default_rng(2).binomial(n, p), n, alpha)[:, None] >= thresholds
    assert (fixed != ledger.certified).mean() < 0.01
    np.testing.assert_allclose(ledger.certified.mean(axis=0), fixed.mean(axis=0), atol=0.01)


def exact_log_wealth(hits: int, misses: int, threshold: float) -> Any:
    """The mixture as an integral of the likelihood ratio over the prior, cut off at the threshold, to 40 digits."""
    with mpmath.workdps(40):
        t = mpmath.mpf(threshold)
        peak = max(t, mpmath.mpf(hits) / (hits + misses))

        def density(q: Any) -> Any:
            return (q * (1 - q)) ** mpmath.mpf(-0.5)

        def ratio(q: Any) -> Any:
            lost = misses * mpmath.log((1 - q) / (1 - t)) if misses else 0
            return mpmath.exp(hits * mpmath.log(q / t) + lost)

        points = sorted({t, peak, (1 + peak) / 2, mpmath.mpf(1)})
        return mpmath.log(mpmath.quad(lambda q: ratio(q) * density(q), points) / mpmath.quad(density, points))


@pytest.mark.parametrize(
    ("hits", "misses", "p"), [(9, 1, 0.5), (990, 10, 0.95), (3, 97, 0.5), (0, 5, 0.2), (500, 0, 0.99), (60, 40, 0.7)]
)
def test_wealth_against_many_digits(hits: int, misses: int, p: float) -> None:
    found = float(_log_wealth(np.array(hits), np.array(misses), np.array(p), np.array(1 - p)))
    exact = float(exact_log_wealth(hits, misses, p))
    assert found <= exact
    assert found == pytest.approx(exact, abs=1e-8)


def test_wealth_is_fair_at_the_threshold() -> None:
    """At p itself the mean of the wealth over all outcomes is 1; below it is less."""
    n = 40
    k = np.arange(n + 1)
    wealth = np.exp(_log_wealth(k, n - k, np.array(0.7), np.array(0.3)))
    assert binom.pmf(k, n, 0.7) @ wealth == pytest.approx(1.0, abs=1e-9)
    assert binom.pmf(k, n, 0.6) @ wealth < 1.0


def test_thresholds_invert_the_closed_form() -> None:
    certifier, noise = sokbench.certifier("neyman_pearson"), Gaussian(0.5)
    thresholds = thresholds_of(certifier, noise, [0.0, 0.25, 1.0])
    np.testing.assert_allclose(thresholds, ndtr([0.0, 0.5, 2.0]), rtol=1e-14)
    assert (certifier.radius(thresholds[1:], None, noise) >= [0.25, 1.0]).all()
    assert (certifier.radius(thresholds[1:] - 1e-12, None, noise) < [0.25, 1.0]).all()
    beyond = thresholds_of(sokbench.certifier("neyman_pearson_uniform"), Uniform(0.5), [0.3, 0.6])
    assert beyond[1] == 1.0  # no radius reaches the width of the noise: excluded before any sample is drawn
    assert Ledger(AlphaSpending((10,), 0.1, 0.1), 3, beyond).excluded.tolist() == [[False, True]] * 3
    for bad in ([], [-0.1], [0.5, 0.5], [1.0, 0.5]):
        with pytest.raises(InvalidInput, match="rise"):
            thresholds_of(certifier, noise, bad)


def test_stages() -> None:
    assert geometric_stages(1000, 100, 2.0) == (100, 200, 400, 800, 1000)
    assert geometric_stages(50) == (50,)
    assert geometric_stages(100) == (100,)
    for bad in ((0, 100, 2.0), (10, 0, 2.0), (10, 1, 1.0)):
        with pytest.raises(InvalidInput, match="stages need"):
            geometric_stages(*bad)
    with pytest.raises(InvalidInput, match="rise"):
        AlphaSpending((10, 10), 0.1, 0.1)
    with pytest.raises(InvalidInput, match="alpha"):
        Betting((10,), 0.0, 0.1)
    assert AlphaSpending((10,), 0.1, 0.1).level(0, 0.1) == 0.1
    test = AlphaSpending(geometric_stages(10_000), 0.1, 0.1)
    assert sum(test.level(i, 0.1) for i in range(len(test.stages))) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", TESTS)
def test_images_are_decided_as_each_alone_with_the_samples_of_fixed_n(kind: Any) -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0, 2.0], [0.0, 0.0, 0.0]]))
        layer.bias.zero_()
    network, noise, np_certifier = (
        network_from_module(layer, "linear", (3,)),
        Gaussian(0.5),
        sokbench.certifier("neyman_pearson"),
    )
    images = [torch.tensor([a, 0.0, a]) for a in (-0.3, 0.001, 0.3, 0.9)]
    radii, test = [0.0, 0.25, 0.5, 1.0], kind(geometric_stages(5000), 0.001, 0.001)
    together = decide_radii(network, images, [0, 1, 2, 3], noise, np_certifier, radii, test)
    alone = [decide_radii(network, [x], [i], noise, np_certifier, radii, test)[0] for i, x in enumerate(images)]
    assert together == alone
    # distances -0.4, 0.001, 0.4, 1.2 from the boundary
    assert [d.prediction for d in together] == [1, ABSTAIN, 0, 0]
    assert [d.certified for d in together][2:] == [(True, True, False, False), (True, True, True, True)]
    assert together[1].certified == (False,) * 4
    assert together[3].samples < together[1].samples <= 5000
    counts = class_counts(network, images[3], noise, together[3].samples, Stream(0, 3, "estimation"))
    assert test.above(
        counts[:1], test.stages.index(together[3].samples), thresholds_of(np_certifier, noise, radii)
    ).all()


def test_deterministic_certificates_are_not_sampled() -> None:
    network = network_from_module(nn.Linear(3, 2), "linear", (3,))
    noise, test = Splitting(20, 255), AlphaSpending((100,), 0.001, 0.001)
    with pytest.raises(Unsupported, match="every form"):
        decide_radii(network, [torch.zeros(3)], [0], noise, sokbench.certifier("splitting_noise"), [0.01], test)
