"""The linear methods as users meet them."""

from __future__ import annotations

import pytest
import torch

import sokbench
from sokbench.core.errors import Unsupported
from sokbench.core.method import BoundingVerifier
from sokbench.core.outcome import Termination, Verdict
from sokbench.core.registry import catalog
from tests.verifiers.bounds.nets import convolutional, dense
from verifiers.bounds.plans import PLANS

METHODS = sorted(PLANS)


def method(slug: str) -> BoundingVerifier:
    built = sokbench.method(slug)
    assert isinstance(built, BoundingVerifier)
    return built


@pytest.mark.parametrize("slug", METHODS)
def test_verify_proves_small_balls_and_admits_large_ones(slug: str) -> None:
    network = sokbench.load_network(convolutional(seed=0).float(), input_shape=(2, 6, 6))
    x = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    label = int(network(x[None]).argmax())
    verifier = method(slug)
    verifier.prepare(network)
    small = verifier.verify(sokbench.Problem(network, x, label, sokbench.Ball("linf", 1e-5, 0.0, 1.0)))
    large = verifier.verify(sokbench.Problem(network, x, label, sokbench.Ball("linf", 0.9, 0.0, 1.0)))
    assert small.verdict is Verdict.VERIFIED
    assert small.margin is not None
    assert small.margin > 0
    assert large.verdict is Verdict.UNKNOWN
    assert large.termination is Termination.OK


@pytest.mark.parametrize("slug", METHODS)
def test_norms_are_honest(slug: str) -> None:
    network = sokbench.load_network(dense([3, 4, 2], 0).float(), input_shape=(3,))
    x, labels = torch.rand(2, 3), torch.tensor([0, 1])
    for norm, radius in (("linf", 0.1), ("l2", 0.1), ("l1", 0.1), ("l0", 1.0)):
        ball = sokbench.Ball(norm, radius, 0.0, 1.0)
        if norm in method(slug).info.norms:
            assert bool(method(slug).margins(network, x, labels, ball).isfinite().any())
        else:
            with pytest.raises(Unsupported, match=norm):
                method(slug).margins(network, x, labels, ball)


def test_every_plan_is_a_method() -> None:
    assert set(METHODS) <= set(catalog("verifier"))
    assert all(method(slug).plan == slug for slug in METHODS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("slug", METHODS)
def test_tighter_than_is_true(slug: str) -> None:
    for seed in range(4):
        module = dense([4, 20, 20, 3], seed, scale=2.0)
        network = sokbench.load_network(module.float(), input_shape=(4,))
        x, labels = torch.rand(8, 4), torch.randint(3, (8,))
        for norm in method(slug).info.norms:
            ball = sokbench.Ball(norm, 0.2, 0.0, 1.0)
            ours = method(slug).margins(network, x, labels, ball)
            for other in method(slug).info.tighter_than:
                assert bool((ours >= method(other).margins(network, x, labels, ball) - 1e-11).all())


def test_crown_and_deeppoly_agree_without_ties() -> None:
    network = sokbench.load_network(dense([4, 20, 20, 3], 1).float(), input_shape=(4,))
    x, labels, ball = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]), sokbench.Ball("linf", 0.1)
    crown, deeppoly = (method(slug).margins(network, x, labels, ball) for slug in ("crown", "deeppoly"))
    assert torch.allclose(crown, deeppoly, atol=1e-12)


def test_late_answers_keep_what_was_proved() -> None:
    network = sokbench.load_network(dense([4, 10, 10, 3], 1).float(), input_shape=(4,))
    x = torch.rand(4)
    problem = sokbench.Problem(network, x, int(network(x[None]).argmax()), sokbench.Ball("linf", 1e-6))
    outcome = method("crown").verify(problem, limit=0.0)
    assert outcome.verdict is Verdict.VERIFIED
    wide = sokbench.Problem(network, x, problem.label, sokbench.Ball("linf", 1.0))
    assert method("crown").verify(wide, limit=0.0).termination is Termination.TIMEOUT


def test_networks_that_cannot_be_traced_are_unsupported() -> None:
    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(dim=1).values

    module = torch.nn.Sequential(torch.nn.Linear(3, 3), Sorted(), torch.nn.Linear(3, 2))
    network = sokbench.load_network(module, input_shape=(3,))
    x = torch.rand(3)
    problem = sokbench.Problem(network, x, int(network(x[None]).argmax()), sokbench.Ball("linf", 0.01))
    outcome = method("crown").verify(problem)
    assert outcome.termination is Termination.UNSUPPORTED
    assert "sort" in outcome.stats["reason"]
