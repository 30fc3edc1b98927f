"""Cards and weights: what is shipped is whole and scores what its card says; what is damaged is refused in one line."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

import sokbench
from models import cards, zoo
from models.architectures import neuron_count, parameter_count
from models.measure import clean_correct, verified
from models.recipes import SHIPPED
from sokbench import data
from sokbench.core.errors import InvalidInput, UnknownName

NAME = "mnist5k/fcnn_a/clean"
# the others are on CIFAR-10, which is not everywhere, and only meant to be smoothed
DIGITS = sorted(name for name in SHIPPED if name.startswith("mnist5k/"))
LARGEST_TOTAL = 6_000_000


def test_everything_shipped_has_a_recipe_and_the_other_way_round() -> None:
    assert set(zoo.names()) == set(SHIPPED)


def test_shipped_weights_stay_small() -> None:
    assert sum(path.stat().st_size for path in cards.WEIGHTS.rglob("*.safetensors")) < LARGEST_TOTAL


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_model_is_what_its_card_says(name: str) -> None:
    card = cards.card(name)
    network = zoo.load(name)
    assert card.recipe == SHIPPED[name], f"the recipe changed; {cards.rebuild(name)}"
    assert (network.name, network.sha256, network.input_shape) == (name, card.sha256, card.input_shape)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in network.module.parameters())
    assert parameter_count(network.module) == card.parameters
    assert neuron_count(card.recipe.architecture, card.input_shape, card.num_classes) == card.neurons
    weights = cards.file_of(name, ".safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card.sha256
    curve = cards.file_of(name, ".csv").read_text().splitlines()
    assert len(curve) == 1 + card.recipe.epochs


@pytest.mark.parametrize("name", DIGITS)
def test_recorded_clean_accuracy_is_reproduced_exactly(name: str) -> None:
    card = cards.card(name)
    dataset = data.load(card.recipe.dataset)
    assert (dataset.train.sha256, dataset.test.sha256) == (card.train_sha256, card.test_sha256)
    images, labels = torch.from_numpy(dataset.test.images), torch.from_numpy(dataset.test.labels)
    recorded = card.measured("clean")
    assert (clean_correct(zoo.load(name), images, labels), len(labels)) == (recorded.correct, recorded.total)


@pytest.mark.parametrize("name", DIGITS)
def test_accuracies_are_in_their_order(name: str) -> None:
    """No verified accuracy above the attack's, no attack accuracy above the clean one, on the same 1,000 digits."""
    card = cards.card(name)
    clean, attacked = card.measured("clean").correct, card.measured("pgd").correct
    bounds = [card.measured(plan).correct for plan in ("ibp", "crown_ibp")]
    assert max(bounds) <= attacked <= clean <= 1000


@pytest.mark.parametrize("architecture", ["fcnn_a", "fcnn_b", "cnn_a"])
def test_training_matters_as_the_sok_found(architecture: str) -> None:
    certified = {
        training: max(
            cards.card(f"mnist5k/{architecture}/{training}").measured(plan).correct for plan in ("ibp", "crown_ibp")
        )
        for training in ("clean", "adv", "cadv")
    }
    assert certified["cadv"] > certified["adv"] + 100
    assert certified["adv"] >= certified["clean"]


def test_recorded_certified_accuracy_is_reproduced() -> None:
    name = "mnist5k/fcnn_a/cadv"
    recorded = cards.card(name).measured("crown_ibp")
    test = data.load("mnist5k").test
    again = verified(zoo.load(name), 0.1, torch.from_numpy(test.images), torch.from_numpy(test.labels), "crown_ibp")
    assert again == recorded


def test_load_network_knows_the_zoo() -> None:
    assert sokbench.load_network(NAME).sha256 == cards.card(NAME).sha256


def test_cards_need_no_torch() -> None:
    program = "import sys, models.cards; models.cards.names(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="did you mean mnist5k/fcnn_a/clean"):
        zoo.load("mnist5k/fcnn_a/cleen")
    with pytest.raises(UnknownName, match="unknown model"):
        cards.card("nothing")
    with pytest.raises(UnknownName, match="did you mean"):
        cards.card(NAME).measured("klean")
    with pytest.raises(InvalidInput, match="dataset/architecture/training"):
        cards.file_of("../../etc/passwd", ".json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of one model, to be damaged."""
    for suffix in (".json", ".safetensors", ".csv"):
        source = cards.file_of(NAME, suffix)
        target = cards.file_of(NAME, suffix, tmp_path)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    assert zoo.load(NAME, tmp_path).num_classes == 10
    return tmp_path


def truncate(content: bytes) -> bytes:
    return content[:-1000]


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(("damage", "message"), [(truncate, "bytes instead of"), (flip_a_bit, "not those of its card")])
def test_damaged_weights(folder: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = cards.file_of(NAME, ".safetensors", folder)
    path.write_bytes(damage(path.read_bytes()))
    refused(folder, message)


def test_missing_weights(folder: Path) -> None:
    cards.file_of(NAME, ".safetensors", folder).unlink()
    refused(folder, "are missing")


def test_nan_weights_with_a_right_hash(folder: Path) -> None:
    from safetensors.torch import load, save

    state = load(cards.file_of(NAME, ".safetensors", folder).read_bytes())
    state["1.weight"][0, 0] = torch.nan
    replace_weights(folder, save(state))
    refused(folder, "NaN or infinity")


def test_weights_of_another_architecture_with_a_right_hash(folder: Path) -> None:
    from safetensors.torch import save

    replace_weights(folder, save({"1.weight": torch.zeros(3, 3)}))
    refused(folder, "do not fit fcnn_a")


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    replace_weights(folder, b"not a tensor in sight")
    refused(folder, "do not fit fcnn_a")


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"name": 3}'])
def test_broken_card(folder: Path, content: bytes) -> None:
    cards.file_of(NAME, ".json", folder).write_bytes(content)
    refused(folder, "is not valid")


def test_card_of_another_model(folder: Path) -> None:
    other = cards.file_of("mnist5k/fcnn_b/clean", ".json")
    shutil.copy(other, cards.file_of(NAME, ".json", folder))
    refused(folder, "belongs to")


def replace_weights(folder: Path, content: bytes) -> None:
    """New weights with a card that vouches for them."""
    cards.file_of(NAME, ".safetensors", folder).write_bytes(content)
    honest = msgspec.structs.replace(cards.card(NAME), sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    cards.file_of(NAME, ".json", folder).write_bytes(msgspec.json.encode(honest))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        zoo.load(NAME, folder)
    assert "\n" not in str(caught.value)
