"""The losses are those of the papers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.training.objectives import epsilon_at, loss_and_logits
from models.training.recipe import Adversarial, Clean, CrownIbp, Gaussian, Objective
from verifiers.graph import trace

CROWN_IBP = CrownIbp(epsilon=0.1, ramp_start=1.0, ramp_length=4.0, final_kappa=0.5, final_beta=0.0)


def loss_of(
    objective: Objective, module: nn.Module, x: Tensor, labels: Tensor, epoch: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    return loss_and_logits(objective, module, trace(module, tuple(x.shape[1:])), x, labels, epoch, generator)


@pytest.fixture
def linear() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 4))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    # away from 0 and 1, so that the box does not cut the ball of radius 0.1
    x = 0.2 + 0.6 * torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(6) % 4


def test_radius_schedule() -> None:
    assert [epsilon_at(CROWN_IBP, epoch) for epoch in (0.0, 1.0, 3.0, 5.0, 9.0)] == pytest.approx(
        [0, 0, 0.05, 0.1, 0.1]
    )
    adversarial = Adversarial(epsilon=0.3, steps=1, relative_step=1.0, warmup=2.0)
    assert [epsilon_at(adversarial, epoch) for epoch in (0.0, 1.0, 2.0, 3.0)] == pytest.approx([0, 0.15, 0.3, 0.3])
    assert epsilon_at(Clean(), 3.0) == epsilon_at(Gaussian(sigma=1.0), 3.0) == 0.0


def test_crown_ibp_loss_of_a_linear_network_is_exact(linear: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    """For one linear layer IBP and CROWN-IBP margins are both the exact minimum, whatever beta is."""
    x, labels = batch
    layer = linear[1]
    assert isinstance(layer, nn.Linear)
    for epoch, epsilon, kappa in ((0.5, 0.0, 1.0), (3.0, 0.05, 0.75), (8.0, 0.1, 0.5)):
        loss, logits = loss_of(CROWN_IBP, linear, x, labels, epoch, torch.Generator())
        difference = layer.weight[labels][:, None] - layer.weight[None]
        margins = logits.gather(1, labels[:, None]) - logits - epsilon * difference.abs().sum(dim=2)
        expected = kappa * cross_entropy(logits, labels) + (1.0 - kappa) * cross_entropy(-margins, labels)
        torch.testing.assert_close(loss, expected)


def test_crown_ibp_loss_bounds_the_attacked_loss(batch: tuple[Tensor, Tensor]) -> None:
    x, labels = batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        module = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    certified = CrownIbp(epsilon=0.1, ramp_start=0.0, ramp_length=1.0, final_kappa=0.0, final_beta=0.0)
    attack = Adversarial(epsilon=0.1, steps=10, relative_step=0.2, warmup=0.0)
    upper, _ = loss_of(certified, module, x, labels, 2.0, torch.Generator())
    attacked, _ = loss_of(attack, module, x, labels, 2.0, torch.Generator())
    clean, _ = loss_of(Clean(), module, x, labels, 2.0, torch.Generator())
    assert clean.item() < attacked.item() < upper.item()


def test_gradients_reach_every_weight(batch: tuple[Tensor, Tensor]) -> None:
    x, labels = batch
    for objective in (
        CROWN_IBP,
        Clean(),
        Gaussian(sigma=0.3),
        Adversarial(epsilon=0.1, steps=2, relative_step=0.5, warmup=0.0),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            module = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
        loss, _ = loss_of(objective, module, x, labels, 3.0, torch.Generator().manual_seed(0))
        torch.autograd.backward(loss)
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in module.parameters()
        )


def test_adversarial_example_of_a_linear_network(linear: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    """With two classes the worst point is the sign of the weight difference; the attack's loss reaches it."""
    x, labels = batch
    two = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    labels = labels % 2
    layer = two[1]
    assert isinstance(layer, nn.Linear)
    objective = Adversarial(epsilon=0.1, steps=5, relative_step=0.5, warmup=0.0)
    loss, _ = loss_of(objective, two, x, labels, 1.0, torch.Generator())
    towards = (layer.weight[1 - labels] - layer.weight[labels]).sign().view_as(x)
    torch.testing.assert_close(loss, cross_entropy(two(x + 0.1 * towards), labels))


def test_gaussian_noise_comes_from_the_generator(linear: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    x, labels = batch
    loss, _ = loss_of(Gaussian(sigma=0.5), linear, x, labels, 0.0, torch.Generator().manual_seed(7))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(loss, cross_entropy(linear(x + 0.5 * noise), labels))
