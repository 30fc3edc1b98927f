"""Model cards: what a shipped network is, how it was made, what it scored, and the hash of its weights. Without torch.

A model `mnist5k/cnn_a/cadv` is three files in `weights/mnist5k/`: `cnn_a-cadv.json` (the card), `.safetensors` (the
weights, float32) and `.csv` (the training curve).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from sokbench.core.errors import InvalidInput, UnknownName

from .training.recipe import Recipe

WEIGHTS = Path(__file__).resolve().parent / "weights"


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of `total` test inputs passed. quantity: what was asked; settings: all that the answer depends on."""

    quantity: str
    correct: int
    total: int
    settings: dict[str, float | int | str] = {}

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """sha256, bytes: of the weights file; train_sha256, test_sha256: pixels and labels of the two splits;
    measurements: on the test split; seconds: wall time of training, on a machine that may have been busy; torch: the
    version trained with."""

    name: str
    sha256: str
    bytes: int
    recipe: Recipe
    input_shape: tuple[int, int, int]
    num_classes: int
    neurons: int
    parameters: int
    train_sha256: str
    test_sha256: str
    measurements: tuple[Measurement, ...]
    seconds: float
    torch: str

    def measured(self, quantity: str) -> Measurement:
        """The measurement of a quantity; raises `UnknownName` if it was not measured."""
        by_name = {measurement.quantity: measurement for measurement in self.measurements}
        if quantity not in by_name:
            raise UnknownName(f"measurement of {self.name}", quantity, by_name)
        return by_name[quantity]


def file_of(name: str, suffix: str, folder: Path = WEIGHTS) -> Path:
    """The file of a model: suffix .json, .safetensors or .csv. Raises `InvalidInput` for a name not of three parts."""
    parts = name.split("/")
    if len(parts) != 3 or not all(part.replace("_", "").isalnum() for part in parts):
        raise InvalidInput(f"a model's name has the form dataset/architecture/training, not {name!r}")
    dataset, architecture, training = parts
    return folder / dataset / f"{architecture}-{training}{suffix}"


def names(folder: Path = WEIGHTS) -> list[str]:
    """The models that have a card, sorted."""
    found = sorted(folder.glob("*/*.json"))
    return ["/".join((path.parent.name, *path.stem.rsplit("-", 1))) for path in found]


def card(name: str, folder: Path = WEIGHTS) -> Card:
    """The card of a model. Raises `UnknownName`, and `InvalidInput` for a card that does not read."""
    known = names(folder)
    if name not in known:
        raise UnknownName("model", name, known)
    path = file_of(name, ".json", folder)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Card)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the card {path} is not valid ({error}); rebuild it: {rebuild(name)}") from None
    if found.name != name:
        raise InvalidInput(f"the card {path} belongs to {found.name!r}; rebuild it: {rebuild(name)}")
    return found


def checked_weights(name: str, folder: Path = WEIGHTS) -> bytes:
    """The bytes of a model's weights file, once they have the hash of its card. Raises `InvalidInput` otherwise."""
    expected = card(name, folder)
    path = file_of(name, ".safetensors", folder)
    if not path.is_file():
        raise InvalidInput(f"the weights of {name} are missing ({path}); rebuild them: {rebuild(name)}")
    content = path.read_bytes()
    if len(content) != expected.bytes:
        raise InvalidInput(
            f"the weights of {name} have {len(content)} bytes instead of {expected.bytes} ({path}); rebuild them: "
            f"{rebuild(name)}"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise InvalidInput(
            f"the weights of {name} are not those of its card ({path}: SHA-256 {digest[:16]}…, expected "
            f"{expected.sha256[:16]}…); rebuild them: {rebuild(name)}"
        )
    return content


def rebuild(name: str) -> str:
    """The command that makes a model again."""
    return f"python -m models.train --again {name}"
