"""Table IV from made-up rows: envelope and single deviations beside the printed cells, and what was not run says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sokbench import published_logs
from sokbench.measured.cells import gather
from sokbench.rows import Row
from sokbench.tables import sok_table4
from sokbench.tables.table import Row as TableRow
from sokbench.tables.table import Table
from sokbench.tables.writers import FORMATS
from tests.sokbench.pages.synthetic import make_row
from tests.sokbench.test_published_logs import ABOUT, LOG, written


def rows(model: str, sigma: float, radii: list[float], method: str = "neyman_pearson", **more: Any) -> list[Row]:
    """One row per radius; a negative one stands for a wrong class."""
    return [
        make_row(
            index,
            1,
            model,
            method,
            0.0,
            task="certify",
            dataset="cifar10",
            norm="l2",
            noise={"kind": "gaussian", "sigma": sigma},
            parameters={"n0": 100, "n": 1000, **more},
            alpha=0.001,
            prediction=1 if radius >= 0 else 2,
            certified_radius=abs(radius),
            key=f"{model}-{method}-{sigma}-{index}-{more}",
        )
        for index, radius in enumerate(radii)
    ]


def table_of(*groups: list[Row], norm: str = "l2") -> Table:
    made = sok_table4.tables(gather([row for group in groups for row in group]))
    return next(table for table in made if table.name.endswith(f".{norm}"))


def texts(table: Table, *words: str) -> list[tuple[str, ...]]:
    """Rows that hold all the words, as text."""

    def of(row: TableRow) -> tuple[str, ...]:
        return tuple(cell.text for cell in row.cells)

    return [of(row) for row in table.rows if all(word in (*of(row), row.group) for word in words)]


def test_envelope_and_single_deviations() -> None:
    table = table_of(
        rows("cifar10/resnet110/gaussian025", 0.25, [0.3, 0.6, 0.6, -0.9]),
        rows("cifar10/resnet110/gaussian100", 1.0, [1.6, -3.0, 0.0, 0.0]),
    )
    (printed,) = texts(table, "ResNet-110", "Data Augmentation")
    assert printed[4:] == ("4", "1,000", "75", "50", "25", "25", "25", "25")
    cells = next(
        row.cells for row in table.rows if row.cells[0].text == printed[0] and row.cells[1].text == "ResNet-110"
    )
    assert [cell.published for cell in cells[6:]] == ["61.2", "43.2", "32.0", "22.4", "17.2", "14.0"]
    alone = texts(table, "Measured, one deviation")
    assert [row[3:] for row in alone] == [
        ("gaussian sigma=0.25", "4", "1,000", "75", "50", "0", "0", "0", "0"),
        ("gaussian sigma=1", "4", "1,000", "25", "25", "25", "25", "25", "25"),
    ]
    # its envelope stands with the printed row and nowhere else
    assert texts(table, "Measured, envelope over deviations") == []


def test_what_the_sok_did_not_print() -> None:
    table = table_of(
        rows("cifar10/conv_s/gaussian025", 0.25, [0.3, 0.6], "renyi"),
        rows("cifar10/conv_s/gaussian050", 0.5, [0.8, 0.1], "renyi"),
        rows("cifar10/conv_s/gaussian025", 0.25, [0.3, 0.0], "renyi", stopped=True),
        rows("cifar10/conv_s/gaussian025", 0.25, [0.3, 0.0], "renyi", precision="bfloat16"),
    )
    (envelope,) = texts(table, "Measured, envelope over deviations")
    assert envelope[1:4] == ("conv_s", "gaussian", "Gaussian, envelope")
    assert envelope[6:] == ("100", "50", "50", "0", "0", "0")
    alone = {row[3]: row[5] for row in texts(table, "Measured, one deviation")}
    assert alone == {
        "gaussian sigma=0.25": "1,000",
        "gaussian sigma=0.25, bfloat16": "1,000",
        "gaussian sigma=0.25, decided early": "up to 1,000",
        "gaussian sigma=0.5": "1,000",
    }


def test_cells_that_were_not_run_say_how_to_fill_them() -> None:
    (table, *others) = sok_table4.tables([])
    assert [one.name.rsplit(".", 1)[1] for one in (table, *others)] == ["l2", "l1", "linf"]
    assert len(table.rows) == 8
    for row in table.rows:
        for cell in row.cells[6:]:
            assert cell.text == "not run"
            assert cell.published
            assert "python -m models.train" in cell.note or "Pre-training" in cell.note
    assert any("sokbench run sok-smoothing-cifar10" in note for note in table.notes)
    for write in FORMATS.values():
        assert "61.2" in write(table)
    # other data and deterministic rows have no place in it
    digits = rows("cifar10/resnet110/gaussian025", 0.25, [1.0])
    assert "not run" in texts(table_of(digits, norm="l1"), "Laplace")[0]


def test_all_printed_cells_are_there() -> None:
    values = [cell.published for table in sok_table4.tables([]) for row in table.rows for cell in row.cells[6:]]
    assert len(values) == 80
    assert values.count("") == 0


def test_logs_are_rows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_logs.store(written(tmp_path, LOG), "one", ABOUT, tmp_path / "logs")
    monkeypatch.setattr(sok_table4, "load", lambda: published_logs.load(tmp_path / "logs"))
    (row,) = texts(table_of(rows("cifar10/conv_s/gaussian025", 0.25, [0.3])), "Published, from certification logs")
    assert row[1:] == (
        "ResNet-110",
        ABOUT.training,
        "gaussian sigma=0.25",
        "4",
        "100,000",
        "50",
        "0",
        "0",
        "0",
        "0",
        "0",
    )
