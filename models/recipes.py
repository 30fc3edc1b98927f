"""The recipes of the SoK, and those of the shipped models, by zoo name.

The SoK trains 7 architectures in 5 ways on MNIST and CIFAR-10; the settings are those of its toolbox (VeriGauge:
experiments/params.py, trainer.py, crown_ibp/config). `mnist5k` has 4,000 training digits instead of 60,000: the
shipped models keep the SoK's epochs and rates and divide its batch sizes by 8 or 4, so that the number of weight
updates stays in its range.
"""

from __future__ import annotations

from msgspec.structs import replace

from sokbench.core.errors import UnknownName

from .training.recipe import (
    Adam,
    Adversarial,
    Augmentation,
    Clean,
    CrownIbp,
    Gaussian,
    Normalization,
    Recipe,
    Sgd,
    Smoothing,
    StepDecay,
)

_SOK = "Li, Xie, Li: SoK: Certified Robustness for Deep Neural Networks (toolbox VeriGauge)"
_COHEN = "Cohen, Rosenfeld, Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019"
_YANG = "Yang et al.: Randomized Smoothing of All Shapes and Sizes, ICML 2020"
_ALWAYS = (
    "The last epoch is kept, not the best on the test set; the optimizer keeps its momentum between epochs; all layers "
    "are trained together."
)
_SMALL = " 4,000 training digits: batches of {batch} instead of {original}, random shifts by up to 1 pixel."
_ADVERSARIAL_BATCH = {
    "fcnn_a": 256,
    "fcnn_b": 256,
    "fcnn_c": 256,
    "cnn_a": 128,
    "cnn_b": 128,
    "cnn_c": 128,
    "cnn_d": 32,
}
_EPSILONS = {"mnist": {"1": 0.1, "3": 0.3}, "cifar10": {"2": 2 / 255, "8": 8 / 255}}
_CIFAR_CROPS = Augmentation(pad=4, flip=True)


def sok_clean(dataset: str, architecture: str) -> Recipe:
    """SGD with rate 0.1, times 0.2 every 10 of 40 epochs, as the SoK trains its networks on clean images."""
    return Recipe(
        dataset=dataset,
        architecture=architecture,
        objective=Clean(),
        # the SoK's momentum is 0.1 indeed, the default of its trainer
        optimizer=Sgd(learning_rate=0.1, momentum=0.1, weight_decay=5e-4),
        decay=StepDecay(factor=0.2, every=10),
        epochs=40,
        batch=2 * _ADVERSARIAL_BATCH[architecture],
        seed=0,
        source=_SOK,
        departures=_ALWAYS,
        augmentation=_CIFAR_CROPS if dataset == "cifar10" else None,
    )


def sok_adversarial(dataset: str, architecture: str, epsilon: float) -> Recipe:
    """As `sok_clean`, on PGD examples of 100 steps of epsilon / 50, with batches half as large."""
    return replace(
        sok_clean(dataset, architecture),
        objective=Adversarial(epsilon=epsilon, steps=100, relative_step=0.02, warmup=1.0),
        batch=_ADVERSARIAL_BATCH[architecture],
    )


def sok_crown_ibp(dataset: str, architecture: str, epsilon: float) -> Recipe:
    """CROWN-IBP with Adam; the rate is halved every 10 epochs once the radius is reached."""
    cifar = dataset == "cifar10"
    start, length = (10.0, 121.0) if cifar else (1.0, 61.0)
    return Recipe(
        dataset=dataset,
        architecture=architecture,
        objective=CrownIbp(epsilon=epsilon, ramp_start=start, ramp_length=length, final_kappa=0.5, final_beta=0.0),
        optimizer=Adam(learning_rate=1e-3 if cifar else 5e-4),
        decay=StepDecay(factor=0.5, every=10, start=int(start + length)),
        epochs=200 if cifar else 100,
        batch=128 if cifar else 256,
        seed=0,
        source=_SOK,
        departures=_ALWAYS,
        augmentation=_CIFAR_CROPS if cifar else None,
        normalization=Normalization(mean=(0.485, 0.456, 0.406), std=(0.225, 0.225, 0.225)) if cifar else None,
    )


def _small(recipe: Recipe, departures: str = "", divisor: int = 8) -> Recipe:
    batch = recipe.batch // divisor
    return replace(
        recipe,
        batch=batch,
        augmentation=Augmentation(pad=1, flip=False),
        departures=recipe.departures + _SMALL.format(batch=batch, original=recipe.batch) + departures,
    )


def _shipped() -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}
    for architecture in ("fcnn_a", "fcnn_b", "cnn_a"):
        adversarial = sok_adversarial("mnist5k", architecture, 0.1)
        shorter = replace(adversarial, objective=Adversarial(epsilon=0.1, steps=20, relative_step=0.1, warmup=10.0))
        recipes[f"mnist5k/{architecture}/clean"] = _small(sok_clean("mnist5k", architecture))
        recipes[f"mnist5k/{architecture}/adv"] = _small(
            shorter,
            " PGD with 20 steps of epsilon / 10 instead of 100 of epsilon / 50, for the time it takes; epsilon grows "
            "over 10 epochs instead of 1, because an epoch has 15 times fewer images.",
        )
        # larger batches where a linear bound costs most: the same epochs take less time
        divisor = 4 if architecture == "cnn_a" else 8
        recipes[f"mnist5k/{architecture}/cadv"] = _small(sok_crown_ibp("mnist5k", architecture, 0.1), "", divisor)
    for sigma in (0.25, 0.5):
        recipes[f"mnist5k/cnn_a/gaussian{round(100 * sigma):03d}"] = _gaussian(sigma)
        recipes[f"cifar10/conv_s/gaussian{round(100 * sigma):03d}"] = _small_on_cifar(sigma)
    return recipes


def _gaussian(sigma: float) -> Recipe:
    return Recipe(
        dataset="mnist5k",
        architecture="cnn_a",
        objective=Gaussian(sigma=sigma),
        optimizer=Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        decay=StepDecay(factor=0.1, every=30),
        epochs=90,
        batch=64,
        seed=0,
        source=_COHEN,
        departures="Batches of 64 instead of 400 for 4,000 training digits, random shifts by up to 1 pixel.",
        augmentation=Augmentation(pad=1, flip=False),
    )


def cohen(architecture: str, sigma: float) -> Recipe:
    """Training with Gaussian noise on CIFAR-10 as Cohen et al. published it: 90 epochs of SGD, rate 0.1, times 0.1
    every 30 epochs, batches of 400."""
    return Recipe(
        dataset="cifar10",
        architecture=architecture,
        objective=Gaussian(sigma=sigma),
        optimizer=Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        decay=StepDecay(factor=0.1, every=30),
        epochs=90,
        batch=400,
        seed=0,
        source=_COHEN,
        augmentation=_CIFAR_CROPS,
        normalization=Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    )


def _small_on_cifar(sigma: float) -> Recipe:
    return replace(
        cohen("conv_s", sigma),
        decay=StepDecay(factor=0.1, every=10),
        epochs=24,
        batch=128,
        departures="24 epochs instead of 90 and batches of 128 instead of 400, for a network that one core trains in "
        "minutes.",
    )


def _of_the_sok() -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}
    for dataset, epsilons in _EPSILONS.items():
        for architecture in _ADVERSARIAL_BATCH:
            recipes[f"{dataset}/{architecture}/clean"] = sok_clean(dataset, architecture)
            for tag, epsilon in epsilons.items():
                recipes[f"{dataset}/{architecture}/adv{tag}"] = sok_adversarial(dataset, architecture, epsilon)
                recipes[f"{dataset}/{architecture}/cadv{tag}"] = sok_crown_ibp(dataset, architecture, epsilon)
    return recipes


_TRAININGS: dict[str, tuple[Smoothing, str]] = {
    "stab": (
        Smoothing(name="stability", noise={}, settings={"weight": 2.0}),
        "Li, Chen, Wang, Carin: Certified Adversarial Robustness with Additive Noise, NeurIPS 2019",
    ),
    "smoothadv": (
        Smoothing(name="smooth_adv", noise={}, settings={"radius": 0.5, "steps": 10, "copies": 2}, warmup=10.0),
        "Salman et al.: Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, NeurIPS 2019",
    ),
    "macer": (
        Smoothing(name="macer", noise={}, settings={"copies": 16, "weight": 12.0, "margin": 8.0, "sharpness": 16.0}),
        "Zhai et al.: MACER, ICLR 2020",
    ),
    "adre": (
        Smoothing(name="adre", noise={}, settings={"copies": 8, "weight": 0.1}),
        "Feng et al.: Regularized Training and Tight Certification for Randomized Smoothed Classifier, AAAI 2020",
    ),
    "consistency": (
        Smoothing(name="consistency", noise={}, settings={"copies": 2, "weight": 20.0, "entropy_weight": 0.5}),
        "Jeong, Shin: Consistency Regularization for Certified Robustness of Smoothed Classifiers, NeurIPS 2020",
    ),
    "smoothmix": (
        Smoothing(name="smooth_mix", noise={}, settings={"copies": 2, "steps": 4, "step": 0.5, "weight": 5.0}),
        "Jeong et al.: SmoothMix, NeurIPS 2021",
    ),
}
_DEVIATIONS = (0.12, 0.25, 0.5, 1.0)


def smoothed(architecture: str, training: str, sigma: float) -> Recipe:
    """Cohen et al.'s schedule with another objective; its own settings are those published for CIFAR-10, or near."""
    objective, source = _TRAININGS[training]
    noise: dict[str, float | int | str] = {"kind": "gaussian", "sigma": sigma}
    return replace(
        cohen(architecture, sigma),
        objective=replace(objective, noise=noise),
        source=source,
        departures="The schedule of Cohen et al.; the settings of the objective are one choice for all deviations.",
    )


def other_noise(architecture: str, noise: dict[str, float | int | str]) -> Recipe:
    """Training on Laplace or uniform noise, with Cohen et al.'s schedule."""
    return replace(cohen(architecture, 1.0), objective=Smoothing(name="augmentation", noise=noise), source=_YANG)


def _of_smoothing() -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}
    for sigma in _DEVIATIONS:
        tag = f"{round(100 * sigma):03d}"
        for architecture in ("resnet110", "wrn_40_2"):
            recipes[f"cifar10/{architecture}/gaussian{tag}"] = cohen(architecture, sigma)
        for training in _TRAININGS:
            recipes[f"cifar10/resnet110/{training}{tag}"] = smoothed("resnet110", training, sigma)
        recipes[f"cifar10/wrn_40_2/smoothadv{tag}"] = smoothed("wrn_40_2", "smoothadv", sigma)
        # of the same deviation: sqrt(2) scale, and half_width / sqrt(3)
        laplace: dict[str, float | int | str] = {"kind": "laplace", "scale": round(sigma / 2**0.5, 6)}
        uniform: dict[str, float | int | str] = {"kind": "uniform", "half_width": round(sigma * 3**0.5, 6)}
        recipes[f"cifar10/wrn_40_2/laplace{tag}"] = other_noise("wrn_40_2", laplace)
        recipes[f"cifar10/wrn_40_2/uniform{tag}"] = other_noise("wrn_40_2", uniform)
    return recipes


SHIPPED = _shipped()
"""Recipes of the models whose weights come with the project."""

RECIPES = SHIPPED | _of_the_sok() | _of_smoothing()
"""All recipes, the SoK's 70 models included."""


def recipe(name: str) -> Recipe:
    """The recipe of a zoo name. Raises `UnknownName`."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    return RECIPES[name]
