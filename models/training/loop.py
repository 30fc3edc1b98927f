"""The training loop: seeded, checkpointed after every epoch, and the same to the bit when it is resumed.

Nothing but weights, optimizer state and the epoch is carried from epoch to epoch: learning rate and radius are
functions of the epoch, random choices come from a generator that belongs to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sokbench.core.errors import InvalidInput
from verifiers.graph import Graph, trace
from verifiers.graph.ops import cast

from ..architectures import build
from .batches import batches, epoch_generator
from .objectives import epsilon_at, loss_and_logits
from .recipe import CrownIbp, Recipe, Sgd


@dataclass(frozen=True)
class TrainingData:
    """images (N, C, H, W) float32 in [0, 1]; labels (N,); sha256 of both, to tell checkpoints of other data apart."""

    images: Tensor
    labels: Tensor
    num_classes: int
    sha256: str


@dataclass(frozen=True)
class Epoch:
    """One line of the training curve. epsilon is that of the epoch's end; loss and accuracy are averages over the
    epoch of what was trained on (attacked, noisy or clean images)."""

    epoch: int
    learning_rate: float
    epsilon: float
    loss: float
    accuracy: float
    seconds: float


OnEpoch = Callable[[Epoch], None]


def train(
    recipe: Recipe, data: TrainingData, folder: Path, on_epoch: OnEpoch, weights: dict[str, Tensor] | None = None
) -> tuple[nn.Sequential, list[Epoch]]:
    """Train from the last checkpoint in `folder`, if there is one, to the end; `on_epoch` hears of each new epoch.

    weights: of a network that was trained before, to start from.

    The checkpoint's name contains the hashes of recipe and data, so that another recipe never continues it. Raises
    `InvalidInput` if the checkpoint cannot be read.
    """
    module, optimizer = start(recipe, data)
    if weights is not None:
        module.load_state_dict(weights)
    checkpoint = folder / f"{recipe.sha256()[:16]}-{data.sha256[:16]}.pt"
    curve = _restore(checkpoint, module, optimizer)
    graph = _graph_of(module, data) if isinstance(recipe.objective, CrownIbp) else None
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(curve), recipe.epochs):
        epoch = _train_epoch(recipe, data, module, graph, optimizer, number)
        curve.append(epoch)
        _save(checkpoint, module, optimizer, curve)
        on_epoch(epoch)
    return module.eval(), curve


def start(recipe: Recipe, data: TrainingData) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """The network before its first epoch, with weights drawn from the recipe's seed, and its optimizer."""
    channels, height, width = data.images.shape[1:]
    normalization = None
    if recipe.normalization is not None:
        normalization = (recipe.normalization.mean, recipe.normalization.std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module = build(recipe.architecture, (channels, height, width), data.num_classes, normalization)
    settings = recipe.optimizer
    if isinstance(settings, Sgd):
        return module, torch.optim.SGD(
            module.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
        )
    return module, torch.optim.Adam(module.parameters(), settings.learning_rate)


def _graph_of(module: nn.Module, data: TrainingData) -> Graph:
    """The graph with the module's own parameters, and the constants of a normalization in the type of the images."""
    graph = trace(module, tuple(data.images.shape[1:]))
    nodes = (
        node
        if any(tensor.requires_grad for tensor in node.op.tensors().values())
        else replace(node, op=cast(node.op, dtype=data.images.dtype))
        for node in graph.nodes
    )
    return Graph(tuple(nodes))


def _train_epoch(
    recipe: Recipe,
    data: TrainingData,
    module: nn.Module,
    graph: Graph | None,
    optimizer: torch.optim.Optimizer,
    number: int,
) -> Epoch:
    started = time.monotonic()
    learning_rate = recipe.optimizer.learning_rate * recipe.decay.scale(number)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    generator = epoch_generator(recipe.seed, number)
    steps = -(-len(data.images) // recipe.batch)
    loss_sum, correct = 0.0, 0
    module.train()
    stream = batches(data.images, data.labels, recipe.batch, recipe.augmentation, generator)
    for step, (x, labels) in enumerate(stream):
        optimizer.zero_grad(set_to_none=True)
        epoch = number + step / steps
        loss, logits = loss_and_logits(recipe.objective, module, graph, x, labels, epoch, generator)
        if not bool(loss.isfinite()):
            raise InvalidInput(f"training diverged in epoch {number + 1}: the loss is {loss.item()}; lower the rate")
        torch.autograd.backward(loss)
        optimizer.step()
        loss_sum += loss.item() * len(x)
        correct += int((logits.argmax(dim=1) == labels).sum())
    count = len(data.images)
    seconds = time.monotonic() - started
    epsilon = epsilon_at(recipe.objective, number + 1)
    return Epoch(number + 1, learning_rate, epsilon, loss_sum / count, correct / count, seconds)


def _save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, curve: list[Epoch]) -> None:
    state = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "curve": [asdict(epoch) for epoch in curve],
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _restore(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    if not path.is_file():
        return []
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        return [Epoch(**epoch) for epoch in state["curve"]]
    except Exception as error:  # torch.load has no error of its own for a damaged file
        raise InvalidInput(
            f"the checkpoint {path} is damaged ({type(error).__name__}); delete it to train from the start"
        ) from None
