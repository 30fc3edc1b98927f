from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from sokbench import export
from sokbench.core.errors import InvalidInput
from sokbench.rows import Array, Row, pack

from .made import row, rows

FULL = [
    *rows("vfwutmcns"),
    row(index=99, witness=pack(np.arange(4, dtype=np.float32)), verdict="falsified", log='two\nlines, "quoted"'),
    row(
        index=100,
        task="sample",
        noise={"kind": "gaussian", "sigma": 0.5},
        counts=Array("int64", (2, 3), "x"),
        margin=-1.5,
    ),
    row(index=101, task="certify", prediction=-1, p=0.25, q=None, certified_radius=0.0, alpha=0.001, seed=2**40),
    row(index=102, parameters={"restarts": 5, "nested": {"a": [1, None]}}, stats={"nodes": 12}, shared=True),
    row(index=103, task="property", spec="prop_1.vnnlib", expected="holds (tools_agree)"),
]


def test_every_field_is_exercised() -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(Row)}
    untouched = [name for name, default in defaults.items() if all(getattr(one, name) == default for one in FULL)]
    assert set(untouched) <= {"schema", "q", "prepare_seconds", "device"}


@pytest.mark.parametrize("found", [FULL, FULL[:1], []], ids=["all kinds", "one", "none"])
def test_parquet_reads_back_to_the_same_rows(tmp_path: Path, found: list[Row]) -> None:
    path = export.export(found, tmp_path / "new" / "rows.parquet")
    assert export.read(path) == found
    assert [p.name for p in path.parent.iterdir()] == ["rows.parquet"]


def test_columns_have_the_same_types_whatever_the_rows_hold(tmp_path: Path) -> None:
    assert export.table(FULL).schema == export.table([]).schema
    types = {field.name: str(field.type) for field in export.table([]).schema}
    assert types["radius"] == types["seconds"] == types["certified_radius"] == "double"
    assert types["index"] == types["prediction"] == types["memory"] == "int64"
    assert types["stats"] == types["witness"] == types["task"] == "string"
    assert types["shared"] == "bool"


def test_csv_for_spreadsheets(tmp_path: Path) -> None:
    path = export.export(FULL, tmp_path / "rows.csv")
    with path.open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == len(FULL)
    assert set(found[0]) == {field.name for field in msgspec.structs.fields(Row)} - {"witness", "counts", "log"}
    assert found[-3]["prediction"] == "-1"
    assert found[0]["prediction"] == ""
    assert float(found[0]["radius"]) == 8 / 255
    assert found[-3]["seed"] == str(2**40)
    assert msgspec.json.decode(found[-2]["parameters"]) == {"restarts": 5, "nested": {"a": [1, None]}}
    assert found[-1]["spec"] == "prop_1.vnnlib"


def test_a_frame_keeps_whole_numbers_with_gaps() -> None:
    found = export.frame(FULL)
    assert isinstance(found["prediction"].dtype, pd.Int64Dtype)
    assert found["prediction"].notna().sum() == 1
    assert found.groupby("verdict").size()["verified"] == sum(one.verdict == "verified" for one in FULL)


def test_places_and_files_that_do_not_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="must end in"):
        export.export(FULL, tmp_path / "rows.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        export.export(FULL, tmp_path / "file" / "rows.csv")
    (tmp_path / "rows.parquet").write_bytes(b"no parquet")
    with pytest.raises(InvalidInput, match="not an export"):
        export.read(tmp_path / "rows.parquet")
    with pytest.raises(InvalidInput, match="not an export"):
        export.read(tmp_path / "missing.parquet")
