"""Leaderboard records from our own rows: the best of each model, with the way back to the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.problem import parse_norm
from ..measured.cells import Cell
from ..measured.names import dataset_key, model_parts, radius_text
from ..published import Record
from ..scores import Share, certified_accuracy
from .boards import Board


@dataclass(frozen=True)
class Measured:
    """A record, and the cell and the share that it stands for."""

    record: Record
    cell: Cell
    share: Share


def from_boards(boards: Iterable[Board]) -> list[Measured]:
    """For each model of a board the ranked method that certifies most of it; those that answered only a part of the
    inputs, or certify nothing, make no record."""
    found = []
    for board in boards:
        for facts in board.models:
            entries = (entry for entry in board.of_model(facts.model) if entry.rank is not None)
            best = next(entries, None)
            if best is not None and best.certified.k:
                record = _record(best.cell, best.certified, board.setting.radius or 0.0, facts.clean, facts.attacked)
                found.append(Measured(record, best.cell, best.certified))
    return found


def from_certificates(cells: Iterable[Cell], published: Sequence[Record]) -> list[Measured]:
    """For each smoothed model the certifier that certifies most at a radius, at the radii that publications use for
    the same data set and norm."""
    radii: dict[tuple[str, str], set[float]] = {}
    for record in published:
        radii.setdefault((dataset_key(record.dataset), record.norm), set()).add(record.eps)
    best: dict[tuple[str, str, str, str, float], Measured] = {}
    for cell in cells:
        if cell.task != "certify":
            continue
        setting = cell.setting
        for radius in sorted(radii.get((dataset_key(setting.dataset), setting.norm), ())):
            share = certified_accuracy(cell.rows, radius)
            key = (cell.suite, cell.model, cell.contender.noise, setting.dataset, radius)
            if share.k and (key not in best or share.value > best[key].share.value):
                best[key] = Measured(_record(cell, share, radius, None, None), cell, share)
    return list(best.values())


def _record(cell: Cell, certified: Share, radius: float, clean: Share | None, attacked: Share | None) -> Record:
    newest = max(row.finished for row in cell.rows)
    verification = cell.contender.label
    return Record(
        dataset=cell.setting.dataset,
        norm=parse_norm(cell.setting.norm),
        eps=radius,
        eps_text=radius_text(radius),
        certified_accuracy=_percent(certified),
        clean_accuracy=None if clean is None else _percent(clean),
        attack_accuracy=None if attacked is None else _percent(attacked),
        probabilistic=cell.task == "certify",
        title=f"{cell.model}, certified by {verification}",
        method=cell.model,
        training=model_parts(cell.model)[1],
        verification=verification,
        model=cell.model,
        year=int(newest[:4]) if newest[:4].isdecimal() else None,
        date=newest[:7],
        origin="measured",
        run=cell.rows[-1].run,
        source=f"suite {cell.suite}",
    )


def _percent(share: Share) -> float:
    return round(100 * share.value, 2)
