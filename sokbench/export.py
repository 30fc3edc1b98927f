"""Exports of recorded rows: Parquet and CSV, one flat row per job.

Parquet keeps every field and reads back to the same rows: nested fields (parameters, noise, stats, witness, counts) are
JSON texts. CSV is for spreadsheets: the same columns without witness, counts and log, which have no place in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .core.errors import InvalidInput
from .rows import Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMATS: Final = ("parquet", "csv")
_NESTED: Final = ("parameters", "noise", "stats", "witness", "counts")
_NOT_IN_CSV: Final = ("witness", "counts", "log")


def export(rows: Sequence[Row], path: Path) -> Path:
    """Write rows to a file ending in .parquet or .csv, and return it. Raises `InvalidInput` for another ending, and for
    a place that cannot be written."""
    suffix = path.suffix.removeprefix(".")
    if suffix not in FORMATS:
        raise InvalidInput(f"cannot export to {path.name}: the name must end in .parquet or .csv")
    partial = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(table(rows), partial, compression="zstd")
        else:
            frame(rows).drop(columns=list(_NOT_IN_CSV)).to_csv(partial, index=False, lineterminator="\n")
        partial.replace(path)
    except OSError as error:
        if partial.exists():
            partial.unlink()
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from None
    return path


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a data frame, one column per field, for analysis in notebooks."""
    return table(rows).to_pandas(types_mapper=_nullable)


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as an Arrow table whose columns have the same types whatever the rows hold."""
    import pyarrow as pa

    schema = pa.schema([(field.name, _type(field)) for field in msgspec.structs.fields(Row)])
    columns = {name: [_plain(name, getattr(row, name)) for row in rows] for name in schema.names}
    return pa.table(columns, schema=schema)


def read(path: Path) -> list[Row]:
    """Rows from a Parquet export. Raises `InvalidInput` for a file that is none."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
        return [msgspec.convert(_nested(record), Row) for record in records]
    except (OSError, pa.ArrowException, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{path} is not an export of rows: {error}") from None


def _type(field: msgspec.structs.FieldInfo) -> Any:
    """The Arrow type of a field; "float | None" is a float column with gaps."""
    import pyarrow as pa

    named = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    kinds = {kind.__name__ for kind in _members(field.type) if getattr(kind, "__name__", "") in named}
    return named[kinds.pop()] if len(kinds) == 1 and field.name not in _NESTED else pa.string()


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types in a union, or the type itself."""
    return getattr(annotation, "__args__", None) or (annotation,)


def _plain(name: str, value: Any) -> Any:
    if name not in _NESTED or value is None:
        return value
    return msgspec.json.encode(value, order="sorted").decode()


def _nested(record: dict[str, Any]) -> dict[str, Any]:
    """A record as a row is written: gaps left out, nested fields decoded."""
    present = {name: value for name, value in record.items() if value is not None}
    return {name: msgspec.json.decode(value) if name in _NESTED else value for name, value in present.items()}


def _nullable(kind: Any) -> Any:
    """Pandas types that keep gaps in whole numbers and texts."""
    import pandas as pd
    import pyarrow as pa

    return {pa.int64(): pd.Int64Dtype(), pa.string(): pd.StringDtype(), pa.bool_(): pd.BooleanDtype()}.get(kind)
