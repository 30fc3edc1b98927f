"""The layout of the SoK's benchmark tables: methods by family down, models by architecture and training across."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.method import FAMILIES
from ..core.registry import catalog
from ..measured.cells import Cell as Measured
from ..measured.cells import Contender, Setting, family_of, kind_of
from ..measured.names import model_parts
from ..published_cells import Metric, architecture_order, published_value
from .table import Cell, Column, Row, Table

_TRAININGS = ("clean", "adv", "cadv")

NOT_RUN = Cell("not run", note="no row is recorded")


@dataclass(frozen=True)
class Group:
    """The measured cells of one suite in one setting: what one table is made from."""

    suite: str
    task: str
    setting: Setting
    cells: tuple[Measured, ...]

    @property
    def models(self) -> list[str]:
        """By architecture, in the order of the SoK, then by training."""
        return sorted({cell.model for cell in self.cells}, key=_model_order)

    def inputs(self, model: str) -> int:
        """How many inputs of `model` any method was given."""
        return len({row.index for cell in self.cells if cell.model == model for row in cell.rows})


def groups(cells: Sequence[Measured], task: str) -> list[Group]:
    """The groups of one task, in the order of `cells`."""
    keys = dict.fromkeys((cell.suite, cell.setting) for cell in cells if cell.task == task)
    return [
        Group(suite, task, setting, tuple(c for c in cells if (c.suite, c.task, c.setting) == (suite, task, setting)))
        for suite, setting in keys
    ]


def table(
    group: Group, name: str, title: str, cell_of: Callable[[Group, Measured], Cell], notes: tuple[str, ...]
) -> Table:
    """The table of a group; `cell_of` says what stands in a cell that was run."""
    models = group.models
    parts = [model_parts(model) for model in models]
    columns = [Column("Method", numeric=False)]
    columns += [
        Column(training or name, architecture if training else "")
        for (architecture, training), name in zip(parts, models, strict=True)
    ]
    found = {(cell.contender, cell.model): cell for cell in group.cells}
    rows = []
    for contender in _contenders(group):
        cells = (found.get((contender, model)) for model in models)
        entries = tuple(NOT_RUN if cell is None else cell_of(group, cell) for cell in cells)
        rows.append(Row((Cell(_title(contender)), *entries), family_of(contender.method)))
    return Table(name, title, tuple(columns), tuple(rows), notes)


def published_text(measured: Measured, metric: Metric) -> str:
    """The number the SoK printed for the same setting; empty where there is none."""
    setting = measured.setting
    architecture, training = model_parts(measured.model)
    if setting.radius is None or not training:
        return ""
    method = measured.contender.method
    found = published_value(setting.dataset, architecture, training, setting.norm, setting.radius, method, metric)
    return found.text if found else ""


# what may stand in a table although nothing of it was run
_KINDS = {"verify": ("verifier", "attack"), "radius": ("verifier",)}


def _contenders(group: Group) -> list[Contender]:
    """Those with rows, and the registered methods that were not run; by family, then by name."""
    known = {cell.contender for cell in group.cells}
    run = {contender.method for contender in known}
    kinds = _KINDS.get(group.task, ())
    idle = {slug for slug, entry in catalog().items() if entry.info.kind in kinds and slug not in run}
    return sorted(known | set(map(Contender, idle)), key=lambda contender: (_family_order(contender.method), contender))


def _family_order(method: str) -> int:
    # what bounds every certified accuracy from above stands first
    family = family_of(method)
    if kind_of(method) == "attack" or family not in FAMILIES:
        return -1 if kind_of(method) == "attack" else len(FAMILIES)
    return FAMILIES.index(family)


def _title(contender: Contender) -> str:
    entry = catalog().get(contender.method)
    label = contender.label
    return label.replace(contender.method, entry.info.title, 1) if entry else label


def _model_order(model: str) -> tuple[int, str, int, str]:
    architecture, training = model_parts(model)
    order = architecture_order()
    plain = re.sub(r"[^a-z0-9]", "", architecture.lower())
    stem = re.sub(r"[^a-z]", "", training)
    return (
        order.index(plain) if plain in order else len(order),
        architecture,
        _TRAININGS.index(stem) if stem in _TRAININGS else len(_TRAININGS),
        training,
    )
