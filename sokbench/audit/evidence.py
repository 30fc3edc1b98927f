"""What is known about one input of one network, by evaluation in float64: the referee's own view."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import data
from ..core.errors import InvalidInput
from ..core.problem import Ball, parse_norm
from ..networks import load_network, network_sha256
from ..rows import Row, unpack
from ..suites.methods import resolve
from .finding import Finding, finding

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.network import Network
    from ..data.split import Split


@dataclass(frozen=True, eq=False)
class Point:
    """An input near the one in question, with its least margin; row: whose witness it is, None for the input itself."""

    x: Tensor
    margin: float
    row: Row | None

    def __str__(self) -> str:
        return "the input itself" if self.row is None else f"the witness of {self.row.method}"


@dataclass(frozen=True, eq=False)
class Scene:
    """All answers about one input. points: the input itself and every witness; None if they cannot be evaluated."""

    rows: Sequence[Row]
    x: Tensor | None
    label: int | None
    points: Sequence[Point]

    def inside(self, row: Row, radius: float) -> Iterator[Point]:
        """The points in the ball of a row, with that radius."""
        from ..core.evaluation import in_ball

        if self.x is not None:
            ball = Ball(parse_norm(row.norm), radius, row.low, row.high)
            yield from (point for point in self.points if in_ball(point.x, self.x, ball))


Splits = dict[str, "Split"]
"""Test splits by data set, as far as they have been read."""


def scenes(rows: Sequence[Row], base: Path, splits: Splits) -> tuple[list[Scene], list[Finding]]:
    """One scene per input. rows: of one network on one data set. Also a finding if they are not here to evaluate."""
    by_index: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_index[row.index].append(row)
    if not rows:
        return [], []
    try:
        split, network = _load(rows[0], base, splits)
    except InvalidInput as error:
        blind = [Scene(together, None, None, ()) for together in by_index.values()]
        message = f"{rows[0].model} on {rows[0].dataset}: {error}"
        return blind, [finding("unchecked", message, rows[0])]
    return [_scene(index, together, split, network) for index, together in sorted(by_index.items())], []


def _load(row: Row, base: Path, splits: Splits) -> tuple[Split, Network]:
    """The data and the network of a row. Raises `InvalidInput` if they are not here, or others by the same name."""
    if row.dataset not in splits:
        splits[row.dataset] = data.load(row.dataset).test
    split = splits[row.dataset]
    if split.sha256 != row.data_sha256:
        raise InvalidInput(f"the data set {row.dataset} is not the one recorded")
    source = str(resolve(row.model, base)) if row.model.endswith((".onnx", ".onnx.gz")) else row.model
    if network_sha256(source) != row.model_sha256:
        raise InvalidInput(f"the network {row.model} is not the one recorded; its rows are of an older one")
    return split, load_network(source, data.info(row.dataset).input_shape)


def _scene(index: int, rows: list[Row], split: Split, network: Network) -> Scene:
    import torch

    x, label = torch.from_numpy(split.image(index)), int(split.labels[index])
    points = [Point(x, _margin(network, x, label), None)]
    for row in rows:
        if row.witness is not None:
            witness = torch.from_numpy(np.array(unpack(row.witness)))
            if witness.shape == x.shape:
                points.append(Point(witness, _margin(network, witness, label), row))
    return Scene(rows, x, label, points)


def _margin(network: Network, x: Tensor, label: int) -> float:
    import torch

    from ..core.evaluation import least_margin, logits64

    return float(least_margin(logits64(network, x[None]), torch.tensor([label])))
