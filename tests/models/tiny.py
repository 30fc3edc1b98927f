"""Recipes and data small enough for tests."""

from __future__ import annotations

import torch

from models.training.loop import TrainingData
from models.training.recipe import (
    Adam,
    Adversarial,
    Augmentation,
    Clean,
    CrownIbp,
    Gaussian,
    Normalization,
    Objective,
    Recipe,
    Sgd,
    Smoothing,
    StepDecay,
)

OBJECTIVES: dict[str, Objective] = {
    "clean": Clean(),
    "adversarial": Adversarial(epsilon=0.1, steps=2, relative_step=0.5, warmup=2.0),
    "crown_ibp": CrownIbp(epsilon=0.1, ramp_start=1.0, ramp_length=2.0, final_kappa=0.5, final_beta=0.0),
    "gaussian": Gaussian(sigma=0.25),
    "smoothing": Smoothing(
        name="smooth_adv",
        noise={"kind": "gaussian", "sigma": 0.25},
        settings={"radius": 0.1, "steps": 1, "copies": 2},
        warmup=2.0,
    ),
}


def tiny_recipe(objective: Objective, epochs: int = 4, adam: bool = False, architecture: str = "fcnn_a") -> Recipe:
    return Recipe(
        dataset="tiny",
        architecture=architecture,
        objective=objective,
        optimizer=(Adam(learning_rate=1e-3) if adam else Sgd(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)),
        decay=StepDecay(factor=0.5, every=2),
        epochs=epochs,
        batch=16,
        seed=3,
        source="a test",
        augmentation=Augmentation(pad=1, flip=True),
        normalization=Normalization(mean=(0.4,), std=(0.3,)),
    )


def tiny_data(count: int = 60) -> TrainingData:
    """Images of 2 classes: bright above or bright below, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = 0.4 * torch.rand(count, 1, 8, 8, generator=generator)
    images[labels == 0, :, :4] += 0.6
    images[labels == 1, :, 4:] += 0.6
    return TrainingData(images, labels, 2, "0" * 64)
