"""Makes one shipped model: trains it by its recipe, measures it, and files weights, curve and card."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load as decode
from safetensors.torch import save
from torch import nn

from sokbench.core.errors import InvalidInput
from sokbench.core.network import network_from_module
from sokbench.core.registry import component

from . import cards, zoo
from .architectures import ARCHITECTURES, neuron_count, parameter_count
from .measure import measure, predictions
from .recipes import recipe
from .training.loop import Epoch, TrainingData, train
from .training.recipe import Recipe

# radius of the attack and verified accuracies of models that were trained without one
_EPSILON = {"mnist5k": 0.1, "mnist": 0.1, "cifar10": 2 / 255}


def up_to_date(name: str, out: Path) -> bool:
    """Whether a card with today's recipe is there, with the weights that belong to it."""
    try:
        cards.checked_weights(name, out)
        return cards.card(name, out).recipe == recipe(name)
    except InvalidInput:
        return False


def produce(name: str, out: Path, work: Path) -> cards.Card:
    """Train (or finish training) a model and write its three files; returns the card. Raises `InvalidInput`."""
    chosen = recipe(name)
    dataset = component("sokbench.data").load(chosen.dataset)
    data = _training_data(chosen, dataset, out)
    checkpoints = work / name.replace("/", "-")
    weights = decode(cards.checked_weights(chosen.start, out)) if chosen.start else None
    module, curve = _train_with_bar(name, chosen, data, checkpoints, weights)
    card = _file(name, chosen, dataset, module, curve, out)
    shutil.rmtree(checkpoints)
    return card


def _training_data(chosen: Recipe, dataset: Any, out: Path) -> TrainingData:
    """The training split, and the images of an unlabeled one with the labels that the teacher gives them."""
    split = dataset.train
    images, labels, digest = torch.from_numpy(split.images), torch.from_numpy(split.labels), split.sha256
    if chosen.unlabeled is not None:
        more = component("sokbench.data").load(chosen.unlabeled.dataset).train
        teacher = zoo.load(chosen.unlabeled.teacher, out)
        extra = torch.from_numpy(more.images)
        if extra.shape[1:] != images.shape[1:] or teacher.num_classes != dataset.num_classes:
            raise InvalidInput(f"{chosen.unlabeled.dataset} or its teacher does not fit {chosen.dataset}")
        images, labels = torch.cat([images, extra]), torch.cat([labels, predictions(teacher, extra)])
        digest = hashlib.sha256(f"{split.sha256} {more.sha256} {teacher.sha256}".encode()).hexdigest()
    return TrainingData(images, labels, dataset.num_classes, digest)


def _train_with_bar(
    name: str, chosen: Recipe, data: TrainingData, checkpoints: Path, weights: dict[str, torch.Tensor] | None
) -> tuple[nn.Sequential, list[Epoch]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    console = Console()
    console.print(
        f"training {name}: {chosen.epochs} epochs, checkpoints in {checkpoints}", highlight=False, soft_wrap=True
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=chosen.epochs, figures="")

        def on_epoch(epoch: Epoch) -> None:
            figures = f"loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.3f}, epsilon {epoch.epsilon:.3f}"
            bar.update(task, completed=epoch.epoch, figures=figures)

        return train(chosen, data, checkpoints, on_epoch, weights)


def _file(name: str, chosen: Recipe, dataset: Any, module: nn.Sequential, curve: list[Epoch], out: Path) -> cards.Card:
    weights = save({key: tensor.contiguous() for key, tensor in module.state_dict().items()})
    digest = hashlib.sha256(weights).hexdigest()
    network = network_from_module(module.requires_grad_(False), name, dataset.input_shape, digest)
    images, labels = torch.from_numpy(dataset.test.images), torch.from_numpy(dataset.test.labels)
    epsilon = _EPSILON[chosen.dataset] if chosen.architecture in ARCHITECTURES else None
    card = cards.Card(
        name=name,
        sha256=digest,
        bytes=len(weights),
        recipe=chosen,
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
        neurons=neuron_count(chosen.architecture, dataset.input_shape, dataset.num_classes),
        parameters=parameter_count(module),
        train_sha256=dataset.train.sha256,
        test_sha256=dataset.test.sha256,
        measurements=tuple(measure(network, chosen.objective, epsilon, images, labels)),
        seconds=round(sum(epoch.seconds for epoch in curve), 1),
        torch=str(torch.__version__),
    )
    # the card goes last: a model without one does not exist
    _write(cards.file_of(name, ".safetensors", out), weights)
    _write(cards.file_of(name, ".csv", out), _curve_csv(curve))
    _write(cards.file_of(name, ".json", out), msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    return card


def _curve_csv(curve: list[Epoch]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    for epoch in curve:
        writer.writerow({key: f"{value:.6g}" for key, value in asdict(epoch).items()})
    return text.getvalue().encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
