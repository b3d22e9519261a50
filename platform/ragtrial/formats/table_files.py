"""A table as CSV and as Parquet at once, written row by row."""

import csv
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ragtrial.domain.inert import inert_cell

Kind = Literal["text", "number", "moment", "seconds"]
"""`moment` and `seconds` take seconds since 1970: the first writes the date and time in UTC, the second the whole seconds."""

_Value = str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind


def write_table(folder: Path, name: str, columns: Sequence[Column], parts: Iterable[Sequence[Sequence[_Value]]]) -> int:
    """Write `NAME.csv` and `NAME.parquet`; returns how many rows.

    In the CSV file no text is a formula to a spreadsheet; numbers keep all their digits.

    Args:
        folder: Which exists.
        name: Of both files.
        columns: In order.
        parts: Rows, some at once; cells in the order of `columns`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "moment": pa.timestamp("us", tz="UTC"), "seconds": pa.int64()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    n = 0
    with ExitStack() as stack:
        text = stack.enter_context((folder / f"{name}.csv").open("w", encoding="utf-8", newline=""))
        table = stack.enter_context(pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd"))
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        for rows in parts:
            if not rows:
                continue
            writer.writerows([_cell(value, column.kind) for value, column in zip(row, columns, strict=True)] for row in rows)
            cells = [
                [_typed(value, column.kind) for value in values] for values, column in zip(zip(*rows, strict=True), columns, strict=True)
            ]
            table.write_table(pa.table([pa.array(values, schema.field(place).type) for place, values in enumerate(cells)], schema=schema))
            n += len(rows)
    return n


def _typed(value: _Value, kind: Kind) -> object:
    if kind == "moment":
        return datetime.fromtimestamp(float(value), UTC)
    return int(float(value)) if kind == "seconds" else value


def _cell(value: _Value, kind: Kind) -> object:
    if kind == "text":
        return inert_cell(str(value))
    if kind == "moment":
        return datetime.fromtimestamp(float(value), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return int(float(value)) if kind == "seconds" else repr(float(value))
