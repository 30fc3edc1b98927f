"""The recipes carry the papers' settings and survive their JSON form."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from models.architectures import ARCHITECTURES
from models.recipes import RECIPES, SHIPPED, recipe
from models.training.recipe import Adam, Adversarial, CrownIbp, Gaussian, Recipe, Sgd, StepDecay
from sokbench.core.errors import UnknownName


def test_the_70_models_of_the_sok_have_recipes() -> None:
    expected = {
        f"{dataset}/{architecture}/{training}"
        for dataset, trainings in (
            ("mnist", ("clean", "adv1", "adv3", "cadv1", "cadv3")),
            ("cifar10", ("clean", "adv2", "adv8", "cadv2", "cadv8")),
        )
        for architecture in ARCHITECTURES
        for training in trainings
    }
    assert len(expected) == 70
    of_the_sok = {name for name in RECIPES if name.split("/")[1] in ARCHITECTURES}
    assert of_the_sok - set(SHIPPED) == expected


def test_settings_of_the_sok() -> None:
    adv = recipe("cifar10/cnn_d/adv8")
    assert adv.objective == Adversarial(epsilon=8 / 255, steps=100, relative_step=0.02, warmup=1.0)
    assert (adv.batch, recipe("cifar10/cnn_d/clean").batch, recipe("mnist/fcnn_a/clean").batch) == (32, 64, 512)
    assert adv.optimizer == Sgd(learning_rate=0.1, momentum=0.1, weight_decay=5e-4)
    cadv = recipe("mnist/cnn_a/cadv3")
    assert cadv.objective == CrownIbp(epsilon=0.3, ramp_start=1.0, ramp_length=61.0, final_kappa=0.5, final_beta=0.0)
    assert (cadv.epochs, cadv.batch, cadv.optimizer) == (100, 256, Adam(learning_rate=5e-4))
    assert cadv.normalization is None
    assert recipe("cifar10/cnn_a/cadv2").normalization is not None


def test_shipped_radii() -> None:
    for name, chosen in SHIPPED.items():
        if isinstance(chosen.objective, (Adversarial, CrownIbp)):
            assert chosen.objective.epsilon == 0.1
        elif isinstance(chosen.objective, Gaussian):
            assert name.endswith({0.25: "gaussian025", 0.5: "gaussian050"}[chosen.objective.sigma])


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_json_form_is_enough(name: str) -> None:
    chosen = recipe(name)
    again = msgspec.json.decode(msgspec.json.encode(chosen), type=Recipe)
    assert again == chosen
    assert again.sha256() == chosen.sha256()


def test_hash_is_of_the_settings() -> None:
    chosen = recipe("mnist5k/cnn_a/clean")
    assert replace(chosen, departures="none").sha256() == chosen.sha256()
    assert replace(chosen, seed=1).sha256() != chosen.sha256()
    assert replace(chosen, decay=StepDecay(factor=0.3, every=10)).sha256() != chosen.sha256()


def test_learning_rate_steps() -> None:
    decay = StepDecay(factor=0.5, every=10, start=62)
    assert [decay.scale(epoch) for epoch in (0, 71, 72, 82, 99)] == [1.0, 1.0, 0.5, 0.25, 0.125]


def test_unknown_recipe() -> None:
    with pytest.raises(UnknownName, match="did you mean mnist5k/cnn_a/adv"):
        recipe("mnist5k/cnn_a/kadv")
