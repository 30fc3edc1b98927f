"""Cells whose answer is a radius: bisection by deterministic methods, and certificates of randomized smoothing.

They share a layout and never a ranking: a certificate holds with a stated confidence, for another classifier.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ..core.registry import catalog
from ..measured.cells import Cell
from ..measured.names import norm_text, slug
from ..scores import AverageRadius, Share, average_certified_radius, certified_accuracy, radius_curve

CURVES: Final = 8
"""Curves that a chart can tell apart."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One cell with its certified share at every radius of the board, and its average radius."""

    cell: Cell
    shares: tuple[Share, ...]
    average: AverageRadius

    @property
    def alpha(self) -> float | None:
        """1 - confidence; None where nothing is left to chance."""
        entry = catalog().get(self.cell.contender.method)
        return None if entry is not None and entry.info.deterministic else self.cell.rows[0].alpha

    @property
    def accuracy(self) -> Share:
        """Inputs that are classified correctly, with a certificate of any size."""
        return certified_accuracy(self.cell.rows, 0.0)


@dataclass(frozen=True)
class RadiusBoard:
    """All curves of one (suite, task, data set, norm), largest average radius first."""

    suite: str
    task: str
    dataset: str
    norm: str
    radii: tuple[float, ...]
    curves: tuple[Curve, ...]

    @property
    def probabilistic(self) -> bool:
        return self.task == "certify"

    @cached_property
    def best(self) -> tuple[Curve, ...]:
        """Of every model and noise the curve with the largest average radius, among those that answered all inputs and
        drew all samples: a pass that stops once given radii are decided says less about others."""
        inputs = {curve.cell.model: 0 for curve in self.curves}
        for curve in self.curves:
            inputs[curve.cell.model] = max(inputs[curve.cell.model], len(curve.cell.rows))
        found = {
            (curve.cell.model, curve.cell.contender.noise): curve
            for curve in reversed(self.curves)
            if len(curve.cell.rows) == inputs[curve.cell.model] and "stopped" not in curve.cell.rows[0].parameters
        }
        return tuple(curve for curve in self.curves if curve in found.values())

    @cached_property
    def drawn(self) -> tuple[Curve, ...]:
        """The curves of the chart: the best ones, then the others, largest average radius first."""
        return tuple([*self.best, *(curve for curve in self.curves if curve not in self.best)][:CURVES])

    def place(self, curve: Curve) -> int:
        """Where a curve stands in the chart; `CURVES` if it is not drawn."""
        return self.drawn.index(curve) if curve in self.drawn else CURVES

    @property
    def path(self) -> str:
        return f"radii/{slug(self.suite)}.{slug(self.dataset)}-{self.norm}-{self.task}.html"

    @property
    def text(self) -> str:
        return f"{self.dataset}, {norm_text(self.norm)}"


def radius_boards(cells: Sequence[Cell]) -> list[RadiusBoard]:
    grouped: dict[tuple[str, str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.task in ("radius", "certify"):
            grouped[cell.suite, cell.task, cell.setting.dataset, cell.setting.norm].append(cell)
    return [_board(key, found) for key, found in grouped.items()]


def _board(key: tuple[str, str, str, str], cells: Sequence[Cell]) -> RadiusBoard:
    largest = max((row.certified_radius or 0.0 for cell in cells for row in cell.rows), default=0.0)
    radii = _steps(largest)
    curves = [
        Curve(cell, tuple(share for _, share in radius_curve(cell.rows, radii)), average_certified_radius(cell.rows))
        for cell in cells
    ]
    curves.sort(key=lambda curve: (-curve.average.over_all, curve.cell.model, curve.cell.contender))
    return RadiusBoard(*key, radii, tuple(curves))


def _steps(largest: float) -> tuple[float, ...]:
    """0 and up to seven round steps that cover most of [0, largest]."""
    if largest <= 0:
        return (0.0,)
    scale = 10.0 ** math.floor(math.log10(largest))
    step = next((m * scale for m in (0.1, 0.2, 0.25, 0.5, 1.0) if largest / (m * scale) <= 7.5), 2 * scale)
    return tuple(round(k * step, 10) for k in range(math.floor(largest / step) + 1))
