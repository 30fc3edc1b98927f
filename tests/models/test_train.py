"""`python -m models.train` from recipe to zoo, interrupted and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from torch import Tensor

import models.build
import models.training.loop
from models import cards, zoo
from models.measure import measure
from models.recipes import RECIPES, SHIPPED
from models.train import main
from models.training.recipe import Objective, Recipe, Sgd, Unlabeled
from sokbench.core.errors import InvalidInput
from sokbench.core.network import Network

NAME = "mnist5k/fcnn_a/clean"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Two epochs instead of forty, and 20 test digits instead of 1,000."""
    brief = replace(SHIPPED[NAME], epochs=2)
    monkeypatch.setattr(models.build, "recipe", {NAME: brief}.__getitem__)

    def measure_few(
        network: Network, objective: Objective, epsilon: float, x: Tensor, labels: Tensor
    ) -> list[cards.Measurement]:
        return measure(network, objective, epsilon, x[:20], labels[:20])

    monkeypatch.setattr(models.build, "measure", measure_few)
    return brief


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_interrupted_resumed_filed_and_up_to_date(
    short: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ("--out", tmp_path / "out", "--work", tmp_path / "work")
    save = models.training.loop._save

    def save_and_stop(path: Path, *state: object) -> None:
        save(path, *state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(models.training.loop, "_save", save_and_stop)
        code, output = run(NAME, *folders)
    assert code == 130
    assert "resumes" in output
    assert cards.names(tmp_path / "out") == []

    code, output = run(NAME, *folders)
    assert code == 0
    assert f"{NAME}: clean" in output
    card = cards.card(NAME, tmp_path / "out")
    assert [m.quantity for m in card.measurements] == ["clean", "pgd", "ibp", "crown_ibp"]
    assert all(m.total == 20 for m in card.measurements)
    assert card.recipe == short
    curve = cards.file_of(NAME, ".csv", tmp_path / "out").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["epoch", "1", "2"]
    assert not any((tmp_path / "work").iterdir())
    assert zoo.load(NAME, tmp_path / "out").sha256 == card.sha256

    assert run(NAME, *folders)[1] == f"{NAME}: up to date\n"
    code, output = run("--again", NAME, *folders)
    assert "training" in output
    assert cards.card(NAME, tmp_path / "out").sha256 == card.sha256


def test_help_list_and_mistakes() -> None:
    code, output = run("--help")
    assert code == 0
    assert "python -m models.train --all" in output
    assert run("--list")[1].split() == list(RECIPES)
    assert run()[0] == 2
    code, output = run("mnist5k/cnn_a/kadv")
    assert code == 2
    assert "did you mean mnist5k/cnn_a/adv" in output


def test_pretraining_and_unlabeled_images(short: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that goes on from another one, on twice the images, half of them labelled by that one."""
    out, work = tmp_path / "out", tmp_path / "work"
    first = models.build.produce(NAME, out, work)
    student = "mnist5k/fcnn_a/student"
    more = Unlabeled(dataset="mnist5k", teacher=NAME)
    brief = replace(short, epochs=1, start=NAME, unlabeled=more, optimizer=Sgd(1e-9, 0.0, 0.0))
    monkeypatch.setattr(models.build, "recipe", {NAME: short, student: brief}.__getitem__)
    dataset = models.build.component("sokbench.data").load("mnist5k")
    data = models.build._training_data(brief, dataset, out)
    assert len(data.images) == len(data.labels) == 8000
    assert data.sha256 != dataset.train.sha256
    assert 0.5 < float((data.labels[4000:] == data.labels[:4000]).float().mean()) < 1.0
    second = models.build.produce(student, out, work)
    # a rate of next to nothing leaves it where it started
    assert second.measured("clean") == first.measured("clean")
    assert second.recipe.unlabeled == more
    wrong = replace(brief, unlabeled=Unlabeled(dataset="cifar10", teacher=NAME))
    if models.build.component("sokbench.data").availability("cifar10").ready:
        with pytest.raises(InvalidInput, match="does not fit"):
            models.build._training_data(wrong, dataset, out)
