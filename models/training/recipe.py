"""A recipe: everything that decides how a network is trained. With its seed and data it is enough to rebuild one.

Recipes are immutable, hashable by their JSON form, stored in the model's card, and free of torch.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a recipe."""


class _Kind(_Part, frozen=True, tag_field="kind"):
    """A part of which there are several kinds, told apart in the JSON form by the field `kind`."""


class Clean(_Kind, frozen=True, tag="clean"):
    """Cross entropy on the images as they are."""


class Adversarial(_Kind, frozen=True, tag="adversarial"):
    """Cross entropy on l_inf PGD examples only (Madry et al., ICLR 2018), started from the image itself.

    epsilon grows linearly from 0 over the first `warmup` epochs; relative_step is the step length over epsilon.
    """

    epsilon: float
    steps: int
    relative_step: float
    warmup: float


class CrownIbp(_Kind, frozen=True, tag="crown_ibp"):
    """CROWN-IBP (Zhang et al., Towards Stable and Efficient Training of Verifiably Robust Neural Networks, ICLR 2020).

    Loss: kappa * CE(f(x)) + (1 - kappa) * CE(-m), m = (1 - beta) * IBP + beta * CROWN-IBP lower bounds of the margins
    (eq. 12-13 there). epsilon grows linearly from 0 between the epochs `ramp_start` and `ramp_start + ramp_length`;
    kappa and beta go from 1 to their final values in proportion to it.
    """

    epsilon: float
    ramp_start: float
    ramp_length: float
    final_kappa: float
    final_beta: float


class Gaussian(_Kind, frozen=True, tag="gaussian"):
    """Cross entropy on images with Gaussian noise, one draw per image and epoch (Cohen et al., ICML 2019)."""

    sigma: float


class Smoothing(_Kind, frozen=True, tag="smoothing"):
    """An objective of `randomized_smoothing.training`: its name and parameters, the noise as suites write it, and over
    how many epochs its attack or its weight grows to full strength."""

    name: str
    noise: dict[str, float | int | str]
    settings: dict[str, float | int] = {}
    warmup: float = 0.0


Objective = Clean | Adversarial | CrownIbp | Gaussian | Smoothing


class Sgd(_Kind, frozen=True, tag="sgd"):
    learning_rate: float
    momentum: float
    weight_decay: float


class Adam(_Kind, frozen=True, tag="adam"):
    learning_rate: float


class StepDecay(_Part, frozen=True):
    """The learning rate is multiplied by `factor` every `every` epochs, counted from epoch `start`."""

    factor: float
    every: int
    start: int = 0

    def scale(self, epoch: int) -> float:
        """The factor on the learning rate in `epoch`, counted from 0."""
        return float(self.factor ** max(0, (epoch - self.start) // self.every))


class Augmentation(_Part, frozen=True):
    """Zero padding by `pad` pixels and a random crop of the old size; with `flip`, also a random mirror image."""

    pad: int
    flip: bool


class Normalization(_Part, frozen=True):
    """Made the first layer of the network."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Unlabeled(_Part, frozen=True):
    """Images of another data set's training split, labelled by a teacher, the zoo name of a trained network (Carmon et
    al., Unlabeled Data Improves Adversarial Robustness, NeurIPS 2019). Both kinds are mixed in every batch."""

    dataset: str
    teacher: str


class Recipe(_Part, frozen=True):
    """source: where the settings come from; departures: what differs from there, and why; start: the zoo name of a
    network of the same architecture to start from (pre-training), "" for fresh weights."""

    dataset: str
    architecture: str
    objective: Objective
    optimizer: Sgd | Adam
    decay: StepDecay
    epochs: int
    batch: int
    seed: int
    source: str
    departures: str = ""
    augmentation: Augmentation | None = None
    normalization: Normalization | None = None
    start: str = ""
    unlabeled: Unlabeled | None = None

    def sha256(self) -> str:
        """Of the JSON form of all settings; the two texts do not count."""
        return hashlib.sha256(msgspec.json.encode(replace(self, source="", departures=""))).hexdigest()
