"""Every format against a golden file. To accept a change: write the new output into tests/sokbench/tables/golden/."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sokbench.tables.table import Cell, Column, Row, Table
from sokbench.tables.writers import FORMATS
from sokbench.tables.writers.latex import escape

GOLDEN = Path(__file__).parent / "golden"

TABLE = Table(
    "sample",
    "Certified accuracy, ℓ∞, ε = 8/255 & more_of <it>",
    (
        Column("Method", numeric=False),
        Column("clean", "cnn_a"),
        Column("adv8", "cnn_a"),
        Column("cadv8", "a rather long title"),
        Column("Note|s", numeric=False),
    ),
    (
        Row(
            (
                Cell("CROWN"),
                Cell(
                    "27", 27.4, 19.2, 37.1, published="25", marks="t12 c1", note="12 of 100 timed out, 1 of 100 crashed"
                ),
                Cell("0", 0.0, 0.0, 3.7, marks="t100", note="100 of 100 timed out"),
                Cell("not run", note="no row is recorded"),
                Cell("50 % of 100 $ #1 ~ {x} \\ ^"),
            ),
            group="linear relaxation",
        ),
        Row(
            (
                Cell("[28] DiffAI"),
                Cell("unsupported", note='no "max pool" & <co>'),
                Cell("100", 100.0, 96.3, 100.0, published="98"),
                Cell("skipped"),
                Cell(),
            ),
            group="linear relaxation",
        ),
        Row((Cell("milp"), Cell("1.5", 1.5), Cell("-2"), Cell("", None), Cell("x")), group="complete"),
    ),
    ("Percent & intervals.", "A second_note."),
)

PLAIN = Table("plain", "No groups", (Column("A", numeric=False), Column("B")), (Row((Cell("a"), Cell("1", 1.0))),))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=lambda table: table.name)
def test_golden(table: Table, suffix: str) -> None:
    expected = (GOLDEN / f"{table.name}.{suffix}").read_text(encoding="utf-8")
    assert FORMATS[suffix](table) == expected


def test_csv_reads_back_with_intervals_and_published_values() -> None:
    [first, second, _] = list(csv.DictReader(io.StringIO(FORMATS["csv"](TABLE))))
    assert float(first["cnn_a clean"]) == 27.4
    assert float(first["cnn_a clean low"]) == 19.2
    assert first["cnn_a clean published"] == "25"
    assert first["a rather long title cadv8"] == "not run"
    assert second["cnn_a clean note"] == 'no "max pool" & <co>'
    assert "Note|s low" not in first


class _Balance(HTMLParser):
    """Fails on elements that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_balanced_and_rectangular() -> None:
    parser = _Balance()
    parser.feed(FORMATS["html"](TABLE))
    assert parser.open == []
    assert parser.cells == 5 * (2 + 3 + 2)  # two head lines, three rows, two groups


def test_text_columns_line_up() -> None:
    lines = FORMATS["txt"](TABLE).splitlines()
    rule = next(line for line in lines if line.startswith("---"))
    head = lines[lines.index(rule) - 1]
    ends = [position for position, character in enumerate(rule + " ") if character == " " and rule[position - 1] == "-"]
    assert [head[:end].split()[-1] for end in ends[:4]] == ["Method", "clean", "adv8", "cadv8"]


def test_latex_text_is_harmless() -> None:
    assert escape(r"a_b & 5% \input{x} #$^~") == (
        r"a\_b \& 5\% \textbackslash{}input\{x\} \#\$\textasciicircum{}\textasciitilde{}"
    )


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("t", "t", (Column("a"), Column("b")), (Row((Cell(),)),))
