from __future__ import annotations

from pathlib import Path

import pytest

from sokbench.measured.cells import Contender, family_of, gather, kind_of, noise_text, recorded_suites
from sokbench.measured.status import CODES, STATUSES, status_of
from tests.sokbench.made import row, rows


def test_statuses_of_all_endings():
    names = {"v": "verified", "f": "falsified", "w": "falsified", "u": "unknown", "t": "timeout", "m": "memory"}
    names |= {"c": "crashed", "n": "unsupported", "s": "skipped"}
    for letter, name in names.items():
        assert status_of(rows(letter)[0]) == name


def test_every_status_has_a_code_and_a_meaning_of_its_own():
    assert len(set(CODES.values())) == len(STATUSES) == len({status.meaning for status in STATUSES})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"task": "certify", "prediction": 3, "certified_radius": 0.5}, "verified"),
        ({"task": "certify", "prediction": 2, "certified_radius": 0.5}, "unknown"),
        ({"task": "certify", "prediction": -1, "certified_radius": 0.0}, "unknown"),
        ({"task": "certify", "termination": "crashed"}, "crashed"),
        ({"task": "radius", "certified_radius": 0.01, "termination": "timeout"}, "verified"),
        ({"task": "radius", "certified_radius": 0.0, "termination": "timeout"}, "timeout"),
        ({"task": "radius", "certified_radius": 0.0}, "unknown"),
    ],
)
def test_statuses_of_radii_and_certificates(fields: dict[str, object], status: str):
    assert status_of(row(**fields)) == status


def test_a_cell_is_one_contender_on_one_model_in_one_setting():
    many = [*rows("vuf"), *rows("vv", radius=0.1), *rows("u", parameters={"steps": 3}), *rows("v", model="other")]
    cells = gather(many)
    assert len(cells) == 4
    assert len({(cell.model, cell.id) for cell in cells}) == 4
    first = next(cell for cell in cells if len(cell.rows) == 3)
    assert first.verified == 1
    assert first.counts == {"verified": 1, "unknown": 1, "falsified": 1}
    assert first.id == "crown@linf-8_255"


def test_of_rows_that_a_reader_cannot_tell_apart_the_newest_counts():
    old = row(limit=10.0, verdict="unknown", finished="2026-01-01T00:00:00Z")
    new = row(limit=60.0, verdict="verified", finished="2026-01-02T00:00:00Z")
    for order in ([old, new], [new, old]):
        (cell,) = gather(order)
        assert cell.rows == (new,)


def test_class_counts_are_no_cell():
    assert gather([row(task="sample", norm="l2", noise={"kind": "gaussian", "sigma": 0.5})]) == []


def test_a_cell_is_unsupported_only_if_every_input_is():
    assert gather(rows("nn"))[0].unsupported == "no such layer"
    assert gather(rows("nv"))[0].unsupported == ""


def test_time_counts_what_was_tried_and_budgets_count_proofs():
    cell = gather([*rows("vv", seconds=2.0), row(index=2, seconds=50.0), *rows("---n")])[0]
    assert cell.seconds == pytest.approx(18.0)
    assert [cell.verified_within(budget) for budget in (1.0, 10.0, 60.0)] == [0, 2, 3]


def test_contenders_are_named_with_what_tells_them_apart():
    assert Contender("pgd").label == "pgd"
    assert Contender("pgd", '{"restarts":2}').label == "pgd, restarts=2"
    assert Contender("pgd").slug == "pgd" != Contender("pgd", '{"restarts":2}').slug
    assert noise_text({"kind": "gaussian", "sigma": 0.5}) == "gaussian sigma=0.5"
    assert noise_text(None) == ""


def test_methods_that_are_gone_still_have_a_place():
    assert family_of("crown") == "linear relaxation"
    assert family_of("no_such_method") == "not in this checkout"
    assert (kind_of("pgd"), kind_of("no_such_method")) == ("attack", "verifier")


def test_recorded_suites_are_those_with_rows(tmp_path: Path):
    (tmp_path / "quick" / "run").mkdir(parents=True)
    (tmp_path / "quick" / "run" / "rows.jsonl").touch()
    (tmp_path / "published").mkdir()
    assert recorded_suites(tmp_path) == ["quick"]
