"""Tables from made-up rows, and the published ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sokbench import tables
from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.journal import Journal
from sokbench.rows import Row
from sokbench.tables import papers
from sokbench.tables.table import Cell, Table, plain

from ..made import row, rows

CADV, CLEAN = "cifar10/cnn_a/cadv8", "cifar10/fcnn_a/clean"


def record(folder: Path, found: list[Row]) -> Path:
    journal = Journal(folder / "s" / "20260101-000000")
    for one in found:
        journal.append(one)
    journal.close()
    return folder


def cells_of(table: Table, method: str) -> dict[str, Cell]:
    titles = [" ".join(filter(None, (column.group, column.title))) for column in table.columns]
    [found] = [row for row in table.rows if row.cells[0].text == method]
    return dict(zip(titles, found.cells, strict=True))


@pytest.fixture
def table3(tmp_path: Path) -> Table:
    found = [
        *rows("vvuuw"),
        *rows("uufuw", method="pgd"),
        *rows("nnnnn", method="ibp"),
        *rows("vvttw", model=CADV),
        *rows("vv---", model=CADV, method="ibp"),
        *rows("ttttt", model=CLEAN),
        *rows("sssss", model=CLEAN, method="ibp"),
        *rows("uuuuw", model=CLEAN, method="pgd"),
    ]
    [table] = tables.tables("sok-table3", record(tmp_path, found))
    return table


def test_certified_accuracy_over_all_inputs_beside_the_published(table3: Table) -> None:
    found = cells_of(table3, "CROWN")["cnn_a adv8"]
    assert (found.text, found.value, found.published) == ("40", 40.0, "8")
    assert (found.low, found.high) == pytest.approx((11.762, 76.928), abs=1e-3)
    assert found.marks == ""


def test_endings_are_told_apart(table3: Table) -> None:
    crown, ibp = cells_of(table3, "CROWN"), cells_of(table3, "IBP")
    assert plain(crown["cnn_a cadv8"]) == "40 [12, 77] t2 (33)"
    assert crown["cnn_a cadv8"].note == "2 of 5 timed out"
    assert plain(crown["fcnn_a clean"]) == "0 [0, 43] t5"
    assert plain(ibp["cnn_a adv8"]) == "unsupported"
    assert ibp["cnn_a adv8"].note == "no such layer"
    assert plain(ibp["fcnn_a clean"]) == "skipped"
    assert ibp["cnn_a cadv8"].marks == "p2/5"


def test_attacks_bound_from_above(table3: Table) -> None:
    assert cells_of(table3, "PGD attack")["cnn_a adv8"].value == 60.0
    assert cells_of(table3, "PGD attack")["cnn_a adv8"].published == "34"
    assert plain(cells_of(table3, "PGD attack")["cnn_a cadv8"]) == "not run"


def test_a_registered_method_without_rows_is_not_run(table3: Table) -> None:
    found = cells_of(table3, "CROWN-IBP")
    assert {plain(cell) for cell in list(found.values())[1:]} == {"not run"}


def test_models_by_architecture_and_training(table3: Table) -> None:
    assert [(c.group, c.title) for c in table3.columns[1:]] == [
        ("fcnn_a", "clean"),
        ("cnn_a", "adv8"),
        ("cnn_a", "cadv8"),
    ]
    assert table3.rows[0].group in ("attack", "baseline")


def test_nothing_published_for_another_data_set(tmp_path: Path) -> None:
    found = rows("vv", dataset="mnist5k", model="mnist5k/cnn_a/adv", radius=0.1)
    [table] = tables.tables("sok-table3", record(tmp_path, found))
    assert not any(cell.published for row in table.rows for cell in row.cells)
    assert not any("brackets: printed" in note for note in table.notes)
    assert table.name == "sok-table3.s.mnist5k-linf-0_1"


def test_parameters_are_rows_of_their_own(tmp_path: Path) -> None:
    found = [*rows("vu", method="pgd"), *rows("vu", method="pgd", parameters={"restarts": 5})]
    [table] = tables.tables("sok-table3", record(tmp_path, found))
    assert cells_of(table, "PGD attack, restarts=5")
    assert cells_of(table, "PGD attack")


def test_times(tmp_path: Path) -> None:
    found = [*rows("vv", seconds=2.0), *rows("--t")]
    [table] = tables.tables("sok-times", record(tmp_path, found))
    cell = cells_of(table, "CROWN")["cnn_a adv8"]
    assert cell.value == pytest.approx((2 + 2 + 60) / 3)
    assert cell.note == "median 2 s, PAR2 41.3 s, 3 inputs"
    assert cell.published == "0.03"


def test_radii(tmp_path: Path) -> None:
    found = [row(index=i, task="radius", certified_radius=r) for i, r in enumerate((0.3, 0.1))]
    found += [row(index=2, task="radius", certified_radius=0.0, stats={"refuted": 0.0})]
    found += [row(task="certify", norm="l2", method="neyman_pearson", prediction=3, certified_radius=0.5, p=0.9)]
    deterministic, smoothed = tables.tables("sok-radii", record(tmp_path, found))
    cell = cells_of(deterministic, "CROWN")["cnn_a adv8"]
    assert cell.value == pytest.approx(0.4 / 3)
    assert "2 correctly classified of 3 inputs: 0.2" in cell.note
    assert [row.cells[1].value for row in smoothed.rows] == [0.5]


def test_build_writes_every_format(tmp_path: Path) -> None:
    results = record(tmp_path / "results", rows("vvu"))
    written = tables.build(["sok-table3", "leaderboard", "sok2022_table4"], results, tmp_path / "out")
    assert {path.suffix for path in written} == {".txt", ".csv", ".tex", ".html", ".md"}
    assert (tmp_path / "out" / "sok-table3.s.cifar10-linf-8-255.tex").is_file()
    assert (tmp_path / "out" / "leaderboard.cifar10-linf-8-255.md").is_file()
    assert len(written) == 5 * (1 + 19 + 1)
    assert tables.build(["sok-table3"], tmp_path / "nothing", tmp_path / "out") == []


def test_unknown_names_and_places(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean sok-table"):
        tables.tables("sok-table5", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write tables"):
        tables.build(["leaderboard"], tmp_path, tmp_path / "file")


@pytest.mark.parametrize("name", papers.layouts())
def test_a_paper_table_shows_every_printed_number_once(name: str) -> None:
    layout = papers.layouts()[name]
    found = papers.table(name)
    with (papers.FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        printed = sorted(" ".join(filter(None, (r[f] for f in layout.shown))) for r in csv.DictReader(stream))
    shown = sorted(cell.text for row in found.rows for cell in row.cells[len(layout.rows) :] if cell.text)
    assert shown == [text for text in printed if text]


def test_every_transcribed_table_has_a_layout() -> None:
    files = {path.stem for path in papers.FOLDER.glob("*_table*.csv")}
    assert files <= set(papers.layouts())


def test_doubtful_cells_are_marked() -> None:
    found = papers.table("relax2022_table3")
    assert sum(cell.marks == "?" for row in found.rows for cell in row.cells) == 1
    assert "? marks cells" in found.notes[-1]


def test_two_numbers_in_one_cell_are_refused(tmp_path: Path) -> None:
    (tmp_path / "layouts.toml").write_text('[t]\ntitle = "T"\nrows = ["method"]\ncolumns = ["metric"]\n')
    (tmp_path / "t.csv").write_text("method,metric,value,unit,note\na,m,1,%,\na,m,2,%,\n")
    with pytest.raises(InvalidInput, match="two numbers for"):
        papers.table("t", tmp_path)
    (tmp_path / "layouts.toml").write_text('[t]\ntitle = "T"\n')
    with pytest.raises(InvalidInput, match=r"layouts\.toml: .*missing required field"):
        papers.layouts(tmp_path)


def test_the_leaderboard_says_what_is_unconfirmed() -> None:
    found = {table.name: table for table in tables.tables("leaderboard", Path())}
    board = found["leaderboard.mnist-l2-1-58"]
    disputed = [row for row in board.rows if row.cells[4].text.startswith("Second-Order")]
    assert [row.cells[8].text for row in disputed] == ["unconfirmed"]
    tied = found["leaderboard.mnist-linf-0-3"]
    assert [row.cells[0].text for row in tied.rows][4:8] == ["5", "6=", "6=", "8"]
