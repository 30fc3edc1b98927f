from __future__ import annotations

import multiprocessing
from pathlib import Path

import msgspec
import pytest

from sokbench import journal
from sokbench.core.errors import InvalidInput
from sokbench.journal import Journal
from sokbench.rows import SCHEMA, Array, Row, Run, pack, unpack

RUN = Run(
    run="r",
    suite="s",
    suite_sha256="",
    command="sokbench run s",
    started="",
    commit="unknown",
    clean=False,
    python="3",
    packages={},
    hardware={},
    seeds=[0],
    limits={},
    datasets={},
    models={},
    indices={"d first:2": [0, 1]},
)


def row(key: str = "k", **fields) -> Row:
    common = {
        "run": "r",
        "suite": "s",
        "task": "verify",
        "dataset": "d",
        "data_sha256": "0",
        "index": 0,
        "label": 1,
        "model": "m",
        "model_sha256": "1",
        "method": "crown",
        "method_version": "v",
        "norm": "linf",
        "limit": 1.0,
        "memory": 2,
    }
    return Row(key=key, **{**common, **fields})


def write(folder: Path, *rows: Row) -> Path:
    opened = Journal(folder)
    for one in rows:
        opened.append(one)
    opened.close()
    return folder / "rows.jsonl"


def test_rows_come_back_as_they_were(tmp_path: Path):
    rows = [row("a", stats={"x": [1, None]}, witness=Array("float32", (1,), "eA==")), row("b", margin=-1e-30)]
    write(tmp_path / "s" / "1", *rows)
    assert journal.read_rows(tmp_path, "s") == rows
    assert journal.read_rows(tmp_path, "another") == []


def test_the_newest_row_of_a_key_wins(tmp_path: Path):
    write(tmp_path / "s" / "2026-02", row("a", margin=2.0))
    write(tmp_path / "s" / "2026-01", row("a", margin=1.0), row("b"), row("b", margin=3.0))
    assert {one.key: one.margin for one in journal.read_rows(tmp_path, "s")} == {"a": 2.0, "b": 3.0}


def test_the_index_is_what_planning_needs(tmp_path: Path):
    write(tmp_path / "s" / "1", row("a", method_version="old"), row("b", termination="timeout"), row("a"))
    index = journal.read_index(tmp_path, "s")
    assert (len(index), index.rows) == (2, 3)
    assert index.get("a") == (3, "v", "ok")
    assert index.get("b") == (2, "v", "timeout")
    assert index.get("c") is None


def test_damage_is_reported_and_costs_its_line_only(tmp_path: Path):
    path = write(tmp_path / "s" / "1", row("a"), row("b"), row("c"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff garbage\n" + lines[1] + lines[2][:50])
    reports: list[str] = []
    assert [one.key for one in journal.read_rows(tmp_path, "s", reports.append)] == ["a", "b"]
    assert [report.split(" is damaged")[0] for report in reports] == [
        "s/1/rows.jsonl, line 2",
        "s/1/rows.jsonl, line 4",
    ]


def test_a_row_after_a_torn_line_is_whole(tmp_path: Path):
    path = write(tmp_path / "s" / "1", row("a"), row("b"))
    path.write_bytes(path.read_bytes()[:-10])
    write(tmp_path / "s" / "1", row("c"))
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        assert [one.key for one in journal.read_rows(tmp_path, "s")] == ["a", "c"]


@pytest.mark.parametrize("line", [b'{"schema":2}', b'{"schema":2,"key":["now a list"]}'])
def test_a_newer_schema_is_refused_even_if_it_does_not_decode(tmp_path: Path, line: bytes):
    path = write(tmp_path / "s" / "1", row("a"))
    path.write_bytes(path.read_bytes() + line + b"\n")
    for read in (journal.read_rows, journal.read_index):
        with pytest.raises(InvalidInput, match="line 2 was written by a newer sokbench"):
            read(tmp_path, "s")


def test_every_row_says_its_schema_unless_it_is_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert SCHEMA == 1
    monkeypatch.setattr(journal, "SCHEMA", 7)
    path = write(tmp_path / "s" / "1", row("a"))
    assert b'"schema":7' in path.read_bytes()
    assert journal.read_rows(tmp_path, "s")[0].schema == 7


def test_run_records(tmp_path: Path):
    journal.write_run(tmp_path / "s" / "1", RUN)
    text = (tmp_path / "s" / "1" / "run.json").read_text()
    assert '\n "indices": {"d first:2":[0,1]}\n' in text
    assert journal.read_runs(tmp_path, "s") == [RUN]
    (tmp_path / "s" / "1" / "run.json").write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(InvalidInput, match="newer sokbench"):
        journal.read_runs(tmp_path, "s")
    (tmp_path / "s" / "1" / "run.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"run.json is broken"):
        journal.read_runs(tmp_path, "s")


def _append_many(folder: Path, name: str) -> None:
    write(folder, *(row(f"{name}{number}", log="x" * 5000) for number in range(50)))


def test_processes_append_to_one_file_without_mixing_lines(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(tmp_path / "s" / "1", name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(journal.read_rows(tmp_path, "s")) == 150


def test_arrays_survive(tmp_path: Path):
    np = pytest.importorskip("numpy")
    for array in (np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), np.array([[1, -(2**40)]]), np.zeros((0, 2))):
        packed = msgspec.json.decode(msgspec.json.encode(pack(array)), type=Array)
        assert unpack(packed).dtype == array.dtype
        assert (unpack(packed) == array).all()
        assert unpack(packed).shape == array.shape
