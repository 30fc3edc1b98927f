"""Pages of VNN-COMP suites: one per suite and instance, with what each method answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sokbench.journal import read_rows
from sokbench.measured.cells import Contender
from sokbench.pages import build
from sokbench.pages.property_boards import property_boards
from sokbench.pages.property_charts import against, decided
from tests.sokbench.pages import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(tmp_path_factory.mktemp("results"), list(synthetic.property_rows()))


@pytest.fixture(scope="module")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(results, tmp_path_factory.mktemp("site") / "public").parent


def test_a_page_for_the_suite_and_each_instance(site: Path):
    assert "vnn.html" in (site / "properties/index.html").read_text()
    page = (site / "properties/vnn.html").read_text()
    instances = sorted(path.name for path in (site / "properties").glob("vnn.*.*.html"))
    assert len(instances) == 34
    assert all(f"properties/{name}" in page for name in instances)
    for words in ("Score 2021", "Score 2026", "PAR2", "virtual best", "Decided within a time", "against the others"):
        assert words in page


def test_numbers_of_the_page_are_those_of_the_rows(results: Path, site: Path):
    (board,) = property_boards({"vnn": read_rows(results, "vnn")})
    assert board.categories == {"acasxu": 14, "mnistfc": 20}
    by_method = {entrant.contender.method: entrant for entrant in board.entrants}
    assert by_method["crown"].wrong == 2  # one in each category
    assert sum(by_method["milp"].solved.values()) == by_method["milp"].part.solved
    assert board.entrants[-1].contender.method == "crown"  # wrong answers cost most
    assert board.best.solved == sum(question.best is not None for question in board.questions)
    page = (site / "properties/vnn.html").read_text()
    assert re.search(r'id="crown">.*?badge alarm">2<', page, re.DOTALL)


def test_markup_in_reasons_and_logs_is_text(site: Path):
    page = (site / "properties/vnn.acasxu.3.html").read_text()
    assert "&lt;script&gt;" in page
    assert synthetic.EVIL not in page
    assert "sokbench verify nets/acasxu/net_3.onnx acasxu/prop_3.vnnlib --method milp --limit 60" in page
    assert "counterexample rechecked" in page


def test_what_one_method_does_not_decide_lies_on_the_edge(results: Path):
    (board,) = property_boards({"vnn": read_rows(results, "vnn")})
    drawn = against(board, Contender("beta_crown"), Contender("pgd"), "../")
    assert "not at all" in drawn
    assert 'href="../properties/vnn.acasxu.0.html"' in drawn
    assert decided(board).count('class="curve') == len(board.entrants) + 1


def test_only_the_newest_answer_counts(results: Path):
    rows = list(read_rows(results, "vnn"))
    import msgspec

    newer = msgspec.structs.replace(rows[0], verdict="unknown", termination="timeout", finished="2027")
    (board,) = property_boards({"vnn": [newer, *rows]})
    question = next(q for q in board.questions if (q.category, q.index) == (newer.dataset, newer.index))
    assert question.answers[Contender(newer.method)].termination == "timeout"


def test_without_such_rows_there_is_no_board():
    assert property_boards({"quick": list(synthetic.verify_rows([0], methods=("ibp",)))}) == []
