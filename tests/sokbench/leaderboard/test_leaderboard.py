"""The record files: reading, refusing, adding, ranking."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sokbench import leaderboard
from sokbench.core.errors import InvalidInput
from sokbench.leaderboard import AttackResult, Setting
from sokbench.leaderboard.files import parse_eps
from sokbench.published import Record


def record(**fields: Any) -> Record:
    said: dict[str, Any] = {
        "dataset": "CIFAR-10",
        "norm": "linf",
        "eps": 8 / 255,
        "eps_text": "8/255",
        "certified_accuracy": 35.0,
        "clean_accuracy": 50.0,
        "probabilistic": False,
        "title": "A paper",
        "method": "M",
        "url": "https://example.org/paper",
        "source": "Table 1",
    }
    return Record(**said | fields)


def refused(found: Record, *others: Record, attacks: tuple[AttackResult, ...] = ()) -> str:
    return "; ".join(leaderboard.problems(found, others, attacks))


HEAD = 'dataset = "CIFAR-10"\nnorm = "linf"\neps = "8/255"\n'
ENTRY = '\n[[record]]\ntitle = "T"\ncertified_accuracy = 30.0\nprobabilistic = false\nurl = "https://e.org"\n'


def test_what_is_published_is_in_order() -> None:
    assert leaderboard.check() == []
    records = leaderboard.load()
    assert len(records) == 233
    assert len(leaderboard.boards()) == 19
    sources = [r for r in records if "sok_site/board.csv" in r.source]
    assert len(sources) == 151


def test_the_boards_of_the_site_are_all_there() -> None:
    import csv

    from sokbench.published_cells import PUBLISHED

    with (PUBLISHED / "sok_site" / "board.csv").open(newline="") as stream:
        site = {
            (r["dataset"], r["norm"], r["eps"], float(r["certified_accuracy"]), r["url"])
            for r in csv.DictReader(stream)
        }
    ours = {(r.dataset, r.norm, r.eps_text, r.certified_accuracy, r.url) for r in leaderboard.load()}
    assert site <= ours
    with (PUBLISHED / "paper_tables" / "sok2022_table2.csv").open(newline="") as stream:
        cells = [(r["dataset"], r["norm"], r["header_eps"], float(r["value"])) for r in csv.DictReader(stream)]
    values = {(r.dataset, r.norm, r.eps_text, r.certified_accuracy) for r in leaderboard.load()}
    assert [cell for cell in cells if cell not in values] == [("MNIST", "linf", "0.1", 97.26)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"certified_accuracy": 101.0}, "not a percentage"),
        ({"certified_accuracy": float("nan")}, "not a percentage"),
        ({"clean_accuracy": -1.0}, "not a percentage"),
        ({"certified_accuracy": 50.1}, "above its own clean accuracy"),
        ({"attack_accuracy": 34.9}, "above the accuracy under attack, 34.9 %"),
        ({"attack_accuracy": 51.0}, "above clean accuracy"),
        ({"eps": 8.0}, "is not what eps_text"),
        ({"eps_text": "eight"}, "not a positive number"),
        ({"eps_text": "8/0"}, "not a positive number"),
        ({"url": "example.org"}, "not a web address"),
        ({"url": "javascript:alert(1)"}, "not a web address"),
        ({"url": "https://e.org/a b"}, "not a web address"),
        ({"url": "", "source": ""}, "neither source nor url"),
        ({"date": "2024-13"}, "not a month"),
        ({"year": 1999}, "out of range"),
        ({"title": " "}, "title is empty"),
        ({"notes": "two\nlines"}, "single lines"),
        ({"origin": "measured"}, "names its run"),
        ({"run": "20260101"}, "names its run"),
    ],
)
def test_malformed_and_implausible_records(fields: dict[str, Any], said: str) -> None:
    assert refused(record()) == ""
    assert said in refused(record(**fields))


def test_duplicates() -> None:
    assert "there already" in refused(record(), record(certified_accuracy=34.0))
    assert "there already" in refused(record(title="a  PAPER", method="m"), record())
    assert "there already" in refused(record(title="Renamed"), record())  # the same address
    assert "there already" in refused(record(method=""), record())  # the same paper and number
    assert refused(record(method="N"), record()) == ""
    assert refused(record(eps=2 / 255, eps_text="2/255"), record()) == ""
    assert refused(record(origin="measured", run="r"), record()) == ""


def test_above_an_attack_on_the_same_model() -> None:
    # broken at 2/255 down to 30 %: at 8/255 no more than 30 % can be certified
    other = record(eps=2 / 255, eps_text="2/255", certified_accuracy=20.0, attack_accuracy=30.0)
    assert "record for eps 2/255" in refused(record(), other)
    assert refused(record(method="another"), other) == ""
    larger = record(eps=16 / 255, eps_text="16/255", certified_accuracy=20.0, attack_accuracy=30.0)
    assert refused(record(), larger) == ""


def test_above_a_known_attack_result() -> None:
    known = AttackResult(
        dataset="CIFAR-10", norm="linf", eps="8/255", attack="AutoAttack", accuracy=34.0, source="s", title="A Paper"
    )
    assert "AutoAttack at eps 8/255" in refused(record(), attacks=(known,))
    assert refused(record(certified_accuracy=34.0), attacks=(known,)) == ""
    assert refused(record(title="B", url="https://e.org"), attacks=(known,)) == ""


def test_the_sites_pgd_numbers_are_known() -> None:
    claim = record(model="CNN_A", training="adv8", certified_accuracy=42.0)
    assert "41.87" in refused(claim, attacks=tuple(leaderboard.known_attacks()))
    assert refused(record(model="CNN_A", training="adv8"), attacks=tuple(leaderboard.known_attacks())) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("dataset = ", "is not TOML"),
        (HEAD, "no [[record]]"),
        (ENTRY, "must begin with dataset, norm and eps"),
        (HEAD.replace("8/255", "2/255") + ENTRY, "rename it to cifar10-linf-2-255.toml"),
        ("colour = 1\n" + HEAD + ENTRY, "unknown fields before the first record: colour"),
        (HEAD + ENTRY + "colour = 1\n", "record 1: Object contains unknown field `colour`"),
        (HEAD + ENTRY + 'eps_text = "8/255"\n', "eps_text belong in the head"),
        (HEAD + ENTRY.replace("30.0", '"30"'), "record 1: Expected `float`, got `str`"),
        (HEAD + ENTRY.replace("probabilistic = false\n", ""), "missing required field `probabilistic`"),
        (HEAD + ENTRY + ENTRY.replace("30.0", "31.0"), "record 2 (T): the same entry is there already"),
        (HEAD.replace("linf", "l7") + ENTRY, "rename it"),
    ],
)
def test_broken_files_are_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "cifar10-linf-8-255.toml").write_text(content)
    [problem] = leaderboard.check(tmp_path)
    assert said in problem
    assert "\n" not in problem


def test_add_inserts_one_block_in_order(tmp_path: Path) -> None:
    path = tmp_path / "cifar10-linf-8-255.toml"
    shutil.copy(leaderboard.FOLDER / path.name, path)
    path.write_text("# a comment\n" + path.read_text())
    before = path.read_text()
    assert leaderboard.add(record(notes='with "quotes" and ε', year=2026), tmp_path) == path
    after = path.read_text()
    start = after.index('[[record]]\ntitle = "A paper"')
    block = after[start : after.index("[[record]]", start + 1)]
    assert after.replace(block, "") == before
    accuracies = [entry["certified_accuracy"] for entry in tomllib.loads(after)["record"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert record(notes='with "quotes" and ε', year=2026) in leaderboard.load(tmp_path)
    with pytest.raises(InvalidInput, match="refused: the same entry"):
        leaderboard.add(record(), tmp_path)
    assert path.read_text() == after


def test_add_makes_the_file_of_a_new_setting(tmp_path: Path) -> None:
    new = record(dataset="SVHN", eps=0.031, eps_text="0.031", origin="measured", run="20260101", attack_accuracy=40.0)
    path = leaderboard.add(new, tmp_path)
    assert path.name == "svhn-linf-0-031.toml"
    assert leaderboard.load(tmp_path) == [new]
    assert leaderboard.check(tmp_path) == []
    lower = record(dataset="SVHN", eps=0.031, eps_text="0.031", certified_accuracy=1.0, method="L")
    leaderboard.add(lower, tmp_path)
    assert leaderboard.load(tmp_path) == [new, lower]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot write"):
        leaderboard.add(record(), tmp_path / "missing")


def test_settings() -> None:
    assert Setting("ImageNet 64x64", "linf", "1/255").slug == "imagenet64x64-linf-1-255"
    assert Setting("MNIST", "l2", "1.58").slug == "mnist-l2-1-58"
    assert Setting("MNIST", "l2", "1.58").eps == 1.58
    assert parse_eps("8/255") == 8 / 255


def test_ties_share_a_rank() -> None:
    found = leaderboard.rank(
        [record(certified_accuracy=a, year=y) for a, y in ((1, 2020), (3, 2021), (2, 2022), (3, 2020))]
    )
    assert [(e.rank, e.tied, e.record.certified_accuracy) for e in found] == [
        (1, True, 3),
        (1, True, 3),
        (3, False, 2),
        (4, False, 1),
    ]
    assert [e.record.year for e in found[:2]] == [2020, 2021]


def test_the_trend_comes_from_the_records() -> None:
    found = leaderboard.trend(
        [
            record(certified_accuracy=30.0, date="2020-01", year=2020),
            record(certified_accuracy=20.0, date="", year=2019),
            record(certified_accuracy=25.0, date="2021-06", year=2022),
            record(certified_accuracy=31.0, date="2021-06", year=2022),
            record(certified_accuracy=99.0),
        ]
    )
    assert [(p.date, p.leads) for p in found] == [
        ("2019", True),
        ("2020-01", True),
        ("2021-06", True),
        ("2021-06", False),
    ]
    assert [p.record.certified_accuracy for p in found] == [20, 30, 31, 25]
    assert found[0].year == 2019.5
    assert found[1].year == pytest.approx(2020 + 0.5 / 12)
