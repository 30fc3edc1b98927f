"""The SoK's Table IV, beside the published cells: certified accuracy of smoothed classifiers over the radius.

The SoK tunes the noise for every cell: a printed row is the upper envelope over several networks, chosen on the test
images. Measured rows are shown both ways, as the envelope over the deviations that were run and each deviation alone.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ..core.registry import catalog
from ..measured.cells import Cell as Measured
from ..measured.cells import noise_text
from ..measured.names import dataset_key, model_parts, norm_text, percent_text
from ..published_cells import PUBLISHED
from ..published_logs import Log, load
from ..rows import Row as Recorded
from ..scores import Share, certified_accuracy
from ..suites.schema import number
from .table import Cell, Column, Row, Table

SUITE: Final = "sok-smoothing-cifar10"
DATASET: Final = "cifar10"
_HEAD = (
    Column("Verification", numeric=False),
    Column("Network", numeric=False),
    Column("Training", numeric=False),
    Column("Noise", numeric=False),
    Column("Images", numeric=True),
    Column("Samples", numeric=True),
)
_NOTES = (
    "Percent of all images that are classified correctly and certified beyond the radius, with the Wilson 95% "
    "interval. Unless a group says deterministic, all of it is probabilistic: a certificate is of the smoothed "
    "classifier, with confidence 1 - alpha per image.",
    "In round brackets: printed by the SoK, for networks of its own; each of its cells is the best over noises that it "
    "does not name. The envelope over deviations is the same kind of number, a choice made on the test images, and the "
    "rows of one deviation are without it.",
)
_PRINTED: Final = "As printed, with the envelope over deviations"
_ENVELOPE: Final = "Measured, envelope over deviations"
_SINGLE: Final = "Measured, one deviation"
_EXACT: Final = "Measured, deterministic: every form of the noise is evaluated, nothing is left to chance"
_GROUPS: Final = (_PRINTED, _ENVELOPE, _SINGLE, _EXACT)
_MISSING = "not run: this network has no weights here, and takes days to train without a GPU. "
_FILL = (
    "Not run: networks that take days to train without a GPU. To fill such a row: python -m models.train "
    "cifar10/resnet110/gaussian025 (python -m models.train --list names all of them), then sokbench run " + SUITE
)


@dataclass(frozen=True)
class Printed:
    """One row of the printed table. training: what our zoo names for it begin with, "" where there is no recipe."""

    structure: str
    training_text: str
    method_text: str
    noise: str
    certifier: str
    architecture: str
    training: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Measurement:
    """The cells of one certifier on one kind of network and noise, over its deviations."""

    certifier: str
    architecture: str
    training: str
    noise: str
    cells: tuple[Measured, ...]


def tables(cells: Sequence[Measured]) -> list[Table]:
    """One table per norm of the printed one: its rows, with what the recorded rows of one suite say about them."""
    suites = list(dict.fromkeys(cell.suite for cell in cells if _ours(cell))) or [SUITE]
    return [
        _table(norm, suite, [cell for cell in cells if cell.suite == suite]) for suite in suites for norm in _norms()
    ]


def _ours(cell: Measured) -> bool:
    return cell.task == "certify" and dataset_key(cell.setting.dataset) == DATASET


def _norms() -> list[str]:
    return list(_printed())


def _table(norm: str, suite: str, cells: Sequence[Measured]) -> Table:
    printed = _printed()[norm]
    radii = list(dict.fromkeys(radius for row in printed for radius in row.values))
    measured = _measurements([cell for cell in cells if _ours(cell) and cell.setting.norm == norm])
    keys = [(one.certifier, one.architecture, one.training, one.noise) for one in printed]
    rows = [_printed_row(one, measured.get(key), radii) for one, key in zip(printed, keys, strict=True)]
    for key, found in measured.items():
        rows += _alone(found, radii, with_envelope=key not in keys)
    rows.sort(key=lambda row: _GROUPS.index(row.group))
    rows += [
        _logged(log, radii) for log in load() if log.about.norm == norm and dataset_key(log.about.dataset) == DATASET
    ]
    title = f"Certified accuracy under {norm_text(norm)} attacks, CIFAR-10 (the SoK's Table IV; suite {suite})"
    columns = (*_HEAD, *(Column(radius, "radius") for radius in radii))
    missing = any(cell.text == "not run" for row in rows for cell in row.cells)
    notes = (*_NOTES, _FILL) if missing else _NOTES
    return Table(f"sok-table4.{suite}.{norm}", title, columns, tuple(rows), notes)


def _printed_row(one: Printed, found: Measurement | None, radii: Sequence[str]) -> Row:
    texts = (_title(one.certifier), one.structure, one.training_text, one.noise)
    if found is None:
        names = f"cifar10/{one.architecture}/{one.training}025" if one.training else ""
        command = f"To fill it: python -m models.train {names} (and other deviations), sokbench run {SUITE}"
        why = _MISSING + (command if names else "Pre-training on ImageNet has no recipe here.")
        entries = [Cell("not run", published=one.values.get(radius, ""), note=why) for radius in radii]
        return Row((*map(Cell, texts), Cell(), Cell(), *entries), _PRINTED)
    shares = [_envelope(found.cells, number(radius)) for radius in radii]
    entries = [_cell(share, one.values.get(radius, "")) for share, radius in zip(shares, radii, strict=True)]
    return Row((*map(Cell, texts), *_counts(found.cells), *entries), _PRINTED)


def _alone(found: Measurement, radii: Sequence[str], with_envelope: bool) -> list[Row]:
    texts = (_title(found.certifier), found.architecture, found.training)
    rows = []
    if with_envelope and len(found.cells) > 1:
        entries = [_cell(_envelope(found.cells, number(radius))) for radius in radii]
        head = (*map(Cell, texts), Cell(f"{found.noise}, envelope"), *_counts(found.cells))
        rows.append(Row((*head, *entries), _ENVELOPE))
    for cell in found.cells:
        entries = [_cell(certified_accuracy(cell.rows, number(radius))) for radius in radii]
        head = (*map(Cell, texts), Cell(cell.contender.noise + _manner(cell.rows[0])), *_counts([cell]))
        entry = catalog().get(found.certifier)
        rows.append(Row((*head, *entries), _EXACT if entry and entry.info.deterministic else _SINGLE))
    return rows


def _logged(log: Log, radii: Sequence[str]) -> Row:
    about = log.about
    texts = (_title(about.certifier), about.model, about.training, noise_text(dict(about.noise)))
    why = ". ".join(filter(None, [f"from the log {log.name}, {about.source}", about.notes]))
    entries = []
    for radius in radii:
        share = log.certified(number(radius))
        entries.append(Cell(percent_text(share.value), 100 * share.value, 100 * share.low, 100 * share.high, note=why))
    counts = (Cell(str(len(log.lines)), len(log.lines)), Cell(f"{about.n:,}" if about.n else "", about.n or None))
    return Row((*map(Cell, texts), *counts, *entries), "Published, from certification logs")


def _envelope(cells: Sequence[Measured], radius: float) -> Share:
    return max((certified_accuracy(cell.rows, radius) for cell in cells), key=lambda share: share.value)


def _cell(share: Share, published: str = "") -> Cell:
    return Cell(percent_text(share.value), 100 * share.value, 100 * share.low, 100 * share.high, published=published)


def _counts(cells: Sequence[Measured]) -> tuple[Cell, Cell]:
    images = min(len(cell.rows) for cell in cells)
    samples = {int(cell.rows[0].parameters.get("n", 0)) for cell in cells}
    stopped = any("stopped" in row.parameters for cell in cells for row in cell.rows)
    text = f"{max(samples):,}"
    return Cell(str(images), images), Cell(f"up to {text}" if stopped else text, max(samples))


def _manner(row: Recorded) -> str:
    """What tells passes apart, after the noise, that sampled otherwise than in full and in float32."""
    early = ", decided early" if "stopped" in row.parameters else ""
    return early + (f", {row.parameters['precision']}" if "precision" in row.parameters else "")


def _measurements(cells: Sequence[Measured]) -> dict[tuple[str, str, str, str], Measurement]:
    """By certifier, architecture, training and noise; deviations rising, and passes that could stop by themselves."""
    grouped: dict[tuple[str, str, str, str], list[Measured]] = defaultdict(list)
    for cell in cells:
        architecture, training = model_parts(cell.model)
        row = cell.rows[0]
        kind = str((row.noise or {}).get("kind", "")).capitalize() + _manner(row)
        grouped[cell.contender.method, architecture, re.sub(r"\d+$", "", training), kind].append(cell)
    return {
        key: Measurement(*key, tuple(sorted(found, key=lambda cell: (cell.model, cell.contender.noise))))
        for key, found in sorted(grouped.items())
    }


@cache
def _printed() -> dict[str, list[Printed]]:
    names = tomllib.loads((PUBLISHED / "method_names.toml").read_text(encoding="utf-8"))["sok_table4"]
    path = PUBLISHED / "paper_tables" / "sok2022_table4.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    values: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for record in records:
        noise = record["smoothing_distribution"]
        key = (record["norm"], record["model"], record["training"], record["method"], noise)
        values[key][record["eps"]] = record["value"]
    found: dict[str, list[Printed]] = defaultdict(list)
    for (norm, model, training, method, noise), by_radius in values.items():
        plain_method, plain_training = _without_references(method), _without_references(training)
        found[norm].append(
            Printed(
                model,
                plain_training,
                plain_method,
                noise,
                names["certifiers"][f"{norm} {noise} {plain_method}"],
                names["models"][model],
                names["trainings"].get(f"{noise} {plain_training}", ""),
                by_radius,
            )
        )
    return dict(found)


def _without_references(text: str) -> str:
    return re.sub(r"\s*\[[\d, ]+\]", "", text).strip()


def _title(slug: str) -> str:
    entry: Any = catalog().get(slug)
    return entry.info.title if entry else slug
