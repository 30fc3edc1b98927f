"""The losses are those of the papers: against plain loops, on a linear network where the attack's best is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, softmax

from randomized_smoothing.noise import EXAMPLES, Ablation, Gaussian, Laplace, Noise, Splitting
from randomized_smoothing.training import OBJECTIVES, objective
from randomized_smoothing.training.base import noisy_copies
from sokbench.core.errors import InvalidInput, UnknownName

NOISE = Gaussian(0.5)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


X = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 4


def fresh() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def loss_of(name: str, network: nn.Module, ramp: float = 1.0, noise: Noise = NOISE, **settings: Any) -> Tensor:
    loss, logits = objective(name, settings).loss(network, X, LABELS, noise, fresh(), ramp)
    assert logits.shape == (6, 4)
    return loss


def shifted(network: nn.Module, copies: int) -> Tensor:
    """The logits (copies, B, 4) of the noisy copies that the objectives draw first."""
    return torch.stack([network(one) for one in noisy_copies(NOISE, X, copies, fresh())])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains(name: str, network: nn.Module) -> None:
    """Gradients of every weight, no state, the same twice, and a few steps lower the loss."""
    settings = {} if name in ("augmentation", "stability") else {"copies": 4}
    assert loss_of(name, network, **settings).item() == loss_of(name, network, **settings).item()
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = loss_of(name, network, **settings)
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_augmentation(network: nn.Module) -> None:
    expected = torch.stack([cross_entropy(one, LABELS) for one in shifted(network, 3)]).mean()
    torch.testing.assert_close(loss_of("augmentation", network, copies=3), expected)


@pytest.mark.parametrize("noise", [noise for noise in EXAMPLES if noise.kind in ("laplace", "uniform")], ids=repr)
def test_noise_of_other_shapes(noise: Noise) -> None:
    out = noisy_copies(noise, X, 2000, fresh())
    spread = (out - X).double().std().item()
    wanted = math.sqrt(2) * 0.5 if isinstance(noise, Laplace) else 0.5 / math.sqrt(3)
    assert spread == pytest.approx(wanted, rel=0.02)


def test_noise_that_is_not_additive() -> None:
    x = (X * 255).round() / 255
    assert noisy_copies(Splitting(20, 255), x, 3, fresh()).shape == (3, *x.shape)
    hidden = noisy_copies(Ablation(1, 4, -1.0), x, 5, fresh())
    assert ((hidden != -1.0).sum(dim=(2, 3, 4)) == 3).all()  # one pixel of three channels


def test_stability(network: nn.Module) -> None:
    clean, noisy = network(X), shifted(network, 1)[0]
    drift = -(softmax(clean, 1) * noisy.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss_of("stability", network, weight=3.0), cross_entropy(clean, LABELS) + 3 * drift)


def test_smooth_adv_attacks_within_its_ball(network: nn.Module) -> None:
    plain = loss_of("augmentation", network, copies=3)
    attacked = [loss_of("smooth_adv", network, radius=r, steps=3, copies=3).item() for r in (0.0, 0.2, 0.8)]
    assert attacked[0] == pytest.approx(plain.item(), rel=1e-6)
    assert attacked[0] < attacked[1] < attacked[2]
    half = loss_of("smooth_adv", network, ramp=0.5, radius=0.4, steps=3, copies=3)
    assert half.item() == pytest.approx(loss_of("smooth_adv", network, radius=0.2, steps=3, copies=3).item(), rel=1e-6)


def test_smooth_adv_finds_the_worst_point_of_two_classes() -> None:
    """For two classes the mean soft output is monotone in w.x, so the worst point of the ball is x - r w / |w|."""
    layer = nn.Linear(12, 2)
    module = nn.Sequential(nn.Flatten(), layer)
    x, labels = X[:4], torch.zeros(4, dtype=torch.int64)
    direction = (layer.weight[0] - layer.weight[1]).detach()
    worst = x - 0.3 * (direction / direction.norm()).view(3, 2, 2)
    shifts = noisy_copies(NOISE, x, 2, fresh()) - x
    expected = cross_entropy(module((worst + shifts).flatten(0, 1)), labels.repeat(2))
    found, _ = objective("smooth_adv", {"radius": 0.3, "steps": 5, "copies": 2}).loss(
        module, x, labels, NOISE, fresh(), 1.0
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_macer(network: nn.Module) -> None:
    logits = shifted(network, 16)
    expected = torch.tensor(0.0)
    for i, label in enumerate(LABELS.tolist()):
        expected = expected - softmax(logits[:, i], 1).mean(0)[label].log()
        p = softmax(4 * logits[:, i], 1).mean(0)
        first, second = p.topk(2).values
        lead = torch.special.ndtri(first) - torch.special.ndtri(second)
        if int(p.argmax()) == label and lead.item() <= 8:
            expected = expected + 12 * NOISE.sigma / 2 * (8 - lead)
    found = loss_of("macer", network, copies=16, weight=12.0, margin=8.0, sharpness=4.0)
    torch.testing.assert_close(found, expected / 6, rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidInput, match="gaussian"):
        loss_of("macer", network, noise=Laplace(0.5))


def test_macer_has_gradients_where_outputs_are_saturated(network: nn.Module) -> None:
    loss = loss_of("macer", network, sharpness=1e4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_adre(network: nn.Module) -> None:
    logits = shifted(network, 8)
    mean = softmax(logits, 2).mean(0)
    rivals = [max(mean[i, c] for c in range(4) if c != label) for i, label in enumerate(LABELS.tolist())]
    plain = cross_entropy(logits.flatten(0, 1), LABELS.repeat(8))
    expected = plain + 0.3 * torch.stack(rivals).log().mean()
    torch.testing.assert_close(loss_of("adre", network, copies=8, weight=0.3), expected)


def test_consistency(network: nn.Module) -> None:
    logits = shifted(network, 2)
    mean = softmax(logits, 2).mean(0)
    divergence = sum(kl_div(one.log_softmax(1), mean, reduction="batchmean") for one in logits) / 2
    entropy = -(mean * mean.log()).sum(1).mean()
    plain = cross_entropy(logits.flatten(0, 1), LABELS.repeat(2))
    found = loss_of("consistency", network, copies=2, weight=7.0, entropy_weight=0.5)
    torch.testing.assert_close(found, plain + 7 * divergence + 0.5 * entropy)
    # one copy is its own mean
    alone = loss_of("consistency", network, copies=1, weight=7.0, entropy_weight=0.0)
    torch.testing.assert_close(alone, loss_of("augmentation", network))


def test_smooth_mix(network: nn.Module) -> None:
    plain = loss_of("augmentation", network, copies=2)
    torch.testing.assert_close(loss_of("smooth_mix", network, ramp=0.0, copies=2), plain)
    # without an attack the mix is the image itself, with labels that fade to uniform
    generator = fresh()
    logits = torch.stack([network(one) for one in noisy_copies(NOISE, X, 2, generator)])
    share = torch.rand(6, 1, generator=generator) / 2
    wanted = (1 - share) * softmax(logits, 2).mean(0) + share / 4
    drawn = -(wanted * logits.log_softmax(2)).sum(2).mean()
    found = loss_of("smooth_mix", network, copies=2, step=0.0, weight=5.0)
    torch.testing.assert_close(found, plain + 5 * drawn, rtol=1e-4, atol=1e-5)


def test_names_and_values() -> None:
    with pytest.raises(UnknownName, match="did you mean smooth_adv"):
        objective("smoothadv", {})
    with pytest.raises(UnknownName, match="parameter of macer"):
        objective("macer", {"gamma": 8.0})
    with pytest.raises(InvalidInput, match="copies must be at least 1"):
        objective("adre", {"copies": 0})
    with pytest.raises(InvalidInput, match="radius must be at least 0"):
        objective("smooth_adv", {"radius": -0.1})
