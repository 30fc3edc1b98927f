"""The networks of smoothing have the published sizes, and behave as built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import residual
from models.architectures import build, neuron_count, parameter_count
from models.recipes import RECIPES, recipe
from models.training.recipe import Gaussian, Smoothing
from randomized_smoothing.noise import from_spec
from randomized_smoothing.training import objective

# parameters, and ReLU units plus outputs, for CIFAR-10
COUNTS = {"resnet110": (1_730_714, 1_048_586), "wrn_40_2": (2_243_546, 704_522), "conv_s": (128_970, 20_490)}
SHAPE = (3, 32, 32)


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name: str) -> None:
    module = build(name, SHAPE, 10)
    assert (parameter_count(module), neuron_count(name, SHAPE, 10)) == COUNTS[name]
    assert set(COUNTS) == set(residual.LAYERS)


@pytest.mark.parametrize(("name", "convolutions"), [("resnet110", 109), ("wrn_40_2", 37)])
def test_depth(name: str, convolutions: int) -> None:
    """Convolutions of 3 x 3: with the linear layer 110 and, with 40 counting the three projections, 38."""
    kernels = [m.kernel_size for m in build(name, SHAPE, 10).modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count((3, 3)) == convolutions
    assert kernels.count((1, 1)) == {"resnet110": 2, "wrn_40_2": 3}[name]


@pytest.mark.parametrize("name", COUNTS)
def test_weights_start_from_the_seed_and_outputs_are_sane(name: str) -> None:
    logits = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            module = build(name, SHAPE, 10, ((0.5,) * 3, (0.25,) * 3))
        x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
        logits.append(module.train()(x).detach())
    assert torch.equal(logits[0], logits[1])
    assert bool(logits[0].isfinite().all())
    assert float(logits[0].abs().max()) < 100


def test_blocks_add_their_input() -> None:
    x = torch.randn(2, 8, 6, 6)
    post, pre = residual.PostActivation(8, 8, 1).eval(), residual.PreActivation(8, 8, 1).eval()
    for block in (post, pre):
        for module in block.branch.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.weight)
    torch.testing.assert_close(post(x), x.relu())
    torch.testing.assert_close(pre(x), x)
    assert residual.PostActivation(8, 16, 2)(x).shape == residual.PreActivation(8, 16, 2)(x).shape == (2, 16, 3, 3)


def test_recipes_of_table_iv() -> None:
    """Every training of the SoK's Table IV has recipes, and their objectives and noises can be built."""
    for training in ("gaussian", "smoothadv", "macer", "adre", "stab", "consistency", "smoothmix"):
        assert f"cifar10/resnet110/{training}050" in RECIPES
    for training in ("gaussian", "smoothadv", "laplace", "uniform"):
        assert f"cifar10/wrn_40_2/{training}100" in RECIPES
    for name, chosen in RECIPES.items():
        if isinstance(chosen.objective, Smoothing):
            objective(chosen.objective.name, chosen.objective.settings)
            from_spec(chosen.objective.noise)
            assert (chosen.epochs, chosen.batch) == (90, 400), name
    assert recipe("cifar10/resnet110/gaussian012").objective == Gaussian(sigma=0.12)
