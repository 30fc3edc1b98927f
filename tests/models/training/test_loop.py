"""Training repeats itself to the bit, interrupted or not, and learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from msgspec import structs
from torch import nn

from models.training.loop import Epoch, TrainingData, train
from models.training.recipe import Recipe
from sokbench.core.errors import InvalidInput
from tests.models.tiny import OBJECTIVES, tiny_data, tiny_recipe


class Interrupt(Exception):
    """Stands for Ctrl-C."""


def interrupted_after(epochs: int, recipe: Recipe, data: TrainingData, folder: Path) -> None:
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == epochs:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(recipe, data, folder, on_epoch)


def ignore(_epoch: Epoch) -> None:
    return None


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("adam", [False, True], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_resumed_run_is_the_same_to_the_bit(name: str, adam: bool, tmp_path: Path) -> None:
    recipe, data = tiny_recipe(OBJECTIVES[name], adam=adam, architecture="cnn_a"), tiny_data()
    whole, curve = train(recipe, data, tmp_path / "whole", ignore)
    interrupted_after(1, recipe, data, tmp_path / "parts")
    torch.manual_seed(1234)
    interrupted_after(3, recipe, data, tmp_path / "parts")
    resumed, resumed_curve = train(recipe, data, tmp_path / "parts", ignore)
    assert same_weights(whole, resumed)
    assert [replace(epoch, seconds=0.0) for epoch in curve] == [replace(epoch, seconds=0.0) for epoch in resumed_curve]
    assert [epoch.epoch for epoch in resumed_curve] == [1, 2, 3, 4]


def test_seed_decides_and_global_state_does_not(tmp_path: Path) -> None:
    recipe, data = tiny_recipe(OBJECTIVES["gaussian"]), tiny_data()
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, _ = train(recipe, data, tmp_path / "a", ignore)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    second, _ = train(recipe, data, tmp_path / "b", ignore)
    other, _ = train(structs.replace(recipe, seed=4), data, tmp_path / "c", ignore)
    assert same_weights(first, second)
    assert not same_weights(first, other)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_learns(name: str, tmp_path: Path) -> None:
    _, curve = train(tiny_recipe(OBJECTIVES[name], epochs=10), tiny_data(), tmp_path, ignore)
    assert curve[-1].accuracy > 0.95


def test_learning_rate_and_radius_follow_the_recipe(tmp_path: Path) -> None:
    _, curve = train(tiny_recipe(OBJECTIVES["crown_ibp"]), tiny_data(), tmp_path, ignore)
    assert [epoch.learning_rate for epoch in curve] == [0.1, 0.1, 0.05, 0.05]
    assert [epoch.epsilon for epoch in curve] == pytest.approx([0.0, 0.05, 0.1, 0.1])


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    recipe, data = tiny_recipe(OBJECTIVES["clean"], epochs=2), tiny_data()
    seen: list[int] = []
    train(recipe, data, tmp_path, lambda epoch: seen.append(epoch.epoch))
    train(recipe, data, tmp_path, lambda epoch: seen.append(epoch.epoch))
    assert seen == [1, 2]


def test_checkpoints_of_another_recipe_or_other_data_are_not_continued(tmp_path: Path) -> None:
    recipe, data = tiny_recipe(OBJECTIVES["clean"], epochs=2), tiny_data()
    train(recipe, data, tmp_path, ignore)
    for changed in (
        structs.replace(recipe, batch=8),
        structs.replace(recipe, optimizer=tiny_recipe(OBJECTIVES["clean"], adam=True).optimizer),
    ):
        seen: list[int] = []
        train(changed, data, tmp_path, lambda epoch, seen=seen: seen.append(epoch.epoch))
        assert seen == [1, 2]
    again: list[int] = []
    train(recipe, replace(data, sha256="1" * 64), tmp_path, lambda epoch: again.append(epoch.epoch))
    assert again == [1, 2]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    recipe, data = tiny_recipe(OBJECTIVES["clean"], epochs=2), tiny_data()
    interrupted_after(1, recipe, data, tmp_path)
    (checkpoint,) = tmp_path.glob("*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(InvalidInput, match=r"is damaged .* delete it"):
        train(recipe, data, tmp_path, ignore)


def test_divergence_is_an_error(tmp_path: Path) -> None:
    recipe = tiny_recipe(OBJECTIVES["clean"], epochs=20)
    wild = structs.replace(recipe, optimizer=structs.replace(recipe.optimizer, learning_rate=1e30))
    with pytest.raises(InvalidInput, match="diverged"):
        train(wild, tiny_data(), tmp_path, ignore)
