"""Rankings of measured cells: one board per suite and setting, and the facts about models beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ..core.method import FAMILIES
from ..measured.cells import Cell, Setting, family_of, kind_of
from ..measured.names import model_parts
from ..scores import Bounds, Share, bounds, certified_accuracy

BUDGETS = (1.0, 10.0, 60.0)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model on a board's inputs, whichever method found it out."""

    model: str
    architecture: str
    training: str
    inputs: int
    bounds: Bounds

    @property
    def clean(self) -> Share | None:
        return self.bounds.clean

    @property
    def attacked(self) -> Share | None:
        return self.bounds.attacked


@dataclass(frozen=True)
class Entry:
    """One contender on one model. `rank` is None for what is not ranked: attacks, what is unsupported or contradicted,
    and what answered other inputs than the rest (a share of a few easy inputs is no rank)."""

    cell: Cell
    facts: ModelFacts
    family: str
    certified: Share
    rank: int | None
    best: bool
    conflict: bool
    stale: bool

    @property
    def partial(self) -> bool:
        return len(self.cell.rows) < self.facts.inputs

    @property
    def gap(self) -> float | None:
        return None if self.partial else self.facts.bounds.gap(self.certified)


@dataclass(frozen=True)
class Board:
    """All entries of one suite in one setting; `entries` are ranked first, then the rest."""

    suite: str
    setting: Setting
    entries: tuple[Entry, ...]
    models: tuple[ModelFacts, ...]

    @property
    def ranked(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.rank is not None]

    @property
    def methods(self) -> list[str]:
        return sorted({entry.cell.contender.method for entry in self.entries}, key=method_order)

    @property
    def contenders(self) -> list[Entry]:
        """Everything that claims to verify; attacks and the baseline only bound what can be claimed."""
        return [entry for entry in self.entries if kind_of(entry.cell.contender.method) != "attack"]

    def of_model(self, model: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.cell.model == model]

    def best_within(self, model: str, seconds: float) -> tuple[list[Entry], Share] | None:
        """The ranked entries that verified the largest share of `model`'s inputs within a budget per input, the fastest
        first, and that share."""
        ranked = [entry for entry in self.of_model(model) if entry.rank]
        found = [(Share(entry.cell.verified_within(seconds), entry.certified.n), entry) for entry in ranked]
        most = max((share.value for share, _ in found), default=0.0)
        if most == 0.0:
            return None
        best = [(share, entry) for share, entry in found if share.value == most]
        best.sort(key=lambda pair: pair[1].cell.seconds or 0.0)
        return [entry for _, entry in best], best[0][0]


def method_order(method: str) -> tuple[int, str]:
    """Methods by family, in the order of the taxonomy."""
    family = family_of(method)
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), method)


def boards(cells: Sequence[Cell], conflicts: Set[tuple[str, str]], stale: Mapping[str, str]) -> list[Board]:
    """Boards of all "verify" cells. conflicts: (suite, method) with wrong answers; stale: today's versions of code."""
    grouped: dict[tuple[str, Setting], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.task == "verify":
            grouped[cell.suite, cell.setting].append(cell)
    return [_board(suite, setting, found, conflicts, stale) for (suite, setting), found in grouped.items()]


def _board(
    suite: str,
    setting: Setting,
    cells: Sequence[Cell],
    conflicts: Set[tuple[str, str]],
    stale: Mapping[str, str],
) -> Board:
    by_model: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_model[cell.model].append(cell)
    facts = {model: _facts(model, found) for model, found in by_model.items()}
    best = {model: _best(found, facts[model].inputs) for model, found in by_model.items()}
    entries: list[Entry] = []
    for cell in sorted(cells, key=_rank_order):
        contradicted = (suite, cell.contender.method) in conflicts
        certified = certified_accuracy(cell.rows)
        ranked = _is_ranked(cell, facts[cell.model].inputs) and not contradicted
        ahead = sum(e.rank is not None and e.certified.value > certified.value for e in entries)
        rank = ahead + 1 if ranked else None
        old = any(stale.get(row.method, row.method_version) != row.method_version for row in cell.rows)
        top = ranked and cell in best[cell.model]
        family = family_of(cell.contender.method)
        entries.append(Entry(cell, facts[cell.model], family, certified, rank, top, contradicted, old))
    entries.sort(key=lambda entry: entry.rank is None)
    return Board(suite, setting, tuple(entries), tuple(facts[model] for model in sorted(facts)))


def _is_ranked(cell: Cell, inputs: int) -> bool:
    return kind_of(cell.contender.method) == "verifier" and not cell.unsupported and len(cell.rows) == inputs


def _rank_order(cell: Cell) -> tuple[float, float, str]:
    share = cell.verified / len(cell.rows)
    return (-share, cell.seconds if cell.seconds is not None else float("inf"), cell.model)


def _best(cells: Sequence[Cell], inputs: int) -> list[Cell]:
    """Cells whose interval overlaps that of the best; none where those are most of all, which tells nobody apart."""
    shares = [(cell, certified_accuracy(cell.rows)) for cell in cells if _is_ranked(cell, inputs)]
    if len(shares) < 2:
        return []
    leader = max((share for _, share in shares), key=lambda share: share.value)
    top = [cell for cell, share in shares if share.overlaps(leader)]
    return top if 2 * len(top) <= len(shares) else []


def _facts(model: str, cells: Sequence[Cell]) -> ModelFacts:
    architecture, training = model_parts(model)
    rows = [row for cell in cells for row in cell.rows]
    attacks = {cell.contender.method for cell in cells if family_of(cell.contender.method) == "attack"}
    inputs = len({row.index for row in rows})
    return ModelFacts(model, architecture, training, inputs, bounds(rows, attacks))
