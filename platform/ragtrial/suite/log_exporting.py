"""`ragtrial db export`: logs as Parquet in folders that DuckDB, Spark and warehouses read as partitions.

    OUT/trials/experiment=NAME/date=2026-11-22/0123456789ab.parquet     one file for each plan and day (UTC)
    OUT/scores/...  OUT/votes/...  OUT/signals/...                      by the day of their trial: what belongs together lies together
    OUT/offline_trials/experiment=NAME/date=.../EVALUATION.parquet      one for each evaluation, by the day on which it was started
    OUT/offline_scores/...
    OUT/_schema.json                                                    every column with its type and meaning

A file is there as a whole or not at all. Units are the pseudonyms that the log holds.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ragtrial.contracts import Progress, no_progress
from ragtrial.db.bulk_export import DAY_SECONDS, Batch, BulkReader, LoggedPlan
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.formats.log_tables import TABLES, arrow_schema
from ragtrial.suite.folders import output_folder

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = {"trials": ("query_text", "answer_text", "failure_message"), "votes": ("comment",), "scores": ("opinions",)}
"""Columns that hold what people and models wrote."""

_OFFLINE: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "offline_trials": (
        *((name, "string", "") for name in ("evaluation_id", "arm", "query_id")),
        ("repetition", "int64", "from 0"),
        ("n_hits", "int64", "NULL: no ranking"),
        ("hits", "string", "passage ids, best first, a line for each"),
        *(
            (name, "string", "")
            for name in ("answer_text", "finish_reason", "generator", "failure_stage", "failure_kind", "failure_message")
        ),
        *((name, "double", "") for name in ("embed_ms", "search_ms", "generate_ms", "answer_ms", "cost_usd")),
        *((name, "int64", "") for name in ("prompt_tokens", "cached_tokens", "completion_tokens")),
        ("answer_shared", "bool", ""),
    ),
    "offline_scores": (
        *((name, "string", "") for name in ("evaluation_id", "arm", "query_id")),
        ("repetition", "int64", "from 0"),
        ("metric", "string", ""),
        ("value", "double", "NULL: there is a reason"),
        ("unscored", "string", "why there is no value"),
        ("scorer", "string", "name and version"),
    ),
}
_OFFLINE_TEXTS = ("answer_text", "failure_message")
_SHORT = 12


@dataclass(slots=True, kw_only=True)
class Exported:
    """What an export has written.

    Attributes:
        rows: Rows of the files that were written, by table.
        files: Files that were written.
        kept: Files that were there already (`resume`).
        removed: Files of an earlier export that were removed, as all rows of their day have been erased since.
    """

    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    kept: int = 0
    removed: int = 0


def export_log(
    path: Path, out: Path, *, everything: bool = False, texts: bool = True, resume: bool = False, progress: Progress = no_progress
) -> Exported:
    """Write the logs of an experiment.

    Args:
        path: The experiment file.
        out: A folder; files in it that are written again are replaced one by one.
        everything: All experiments of the database, under whatever plan.
        texts: With what users and models wrote; without, these columns are NULL.
        resume: Leave files alone that are there.
        progress: Told of files.

    Raises:
        InputError: The folder can't be written.
        StoreError: The database can't be read.
    """
    file = load_experiment(path)
    output_folder(out)
    name = None if everything else file.experiment.name
    done = Exported()
    with BulkReader(sql_url(file)) as reader:
        plans = reader.plans(name)
        parts = [(plan, day) for plan in plans for day in reader.days(plan.live_id)]
        evaluations = reader.evaluations(name)
        advance = progress("exporting", len(TABLES) * len(parts) + len(_OFFLINE) * len(evaluations))
        for plan, day in parts:
            for table in TABLES:
                _write(_place(out, table, plan, day), _live(reader, plan, table, day, texts=texts), table, done, resume=resume)
                advance(1)
        for plan in plans:
            done.removed += _remove_erased(
                out, plan, {_date(day) for of, day in parts if of == plan}, kept_from=reader.kept_from(plan.live_id)
            )
        for evaluation in evaluations:
            for kind in _OFFLINE:
                folder = out / kind / f"experiment={_value(evaluation.name)}" / f"date={evaluation.day}"
                batches = _offline(reader, evaluation.evaluation_id, evaluation.digest, kind, texts=texts)
                _write(folder / f"{_value(evaluation.evaluation_id)}.parquet", batches, kind, done, resume=resume)
                advance(1)
    _replace(out / "_schema.json", json.dumps(schema_of_export(), indent=1).encode())
    return done


def schema_of_export() -> dict[str, Any]:
    """Every table with its columns, their types and meanings."""
    live: dict[str, list[dict[str, str]]] = {name: [{"name": "plan", "type": "string", "meaning": "digest of the plan"}] for name in TABLES}
    for table, columns in live.items():
        columns += [
            {"name": one.name, "type": str(one.type), "meaning": (one.metadata or {}).get(b"meaning", b"").decode()}
            for one in arrow_schema(table)  # type: ignore[arg-type]  # one of the tables
        ]
    offline = {
        table: [{"name": "plan", "type": "string", "meaning": "digest of the plan"}]
        + [{"name": name, "type": kind, "meaning": meaning} for name, kind, meaning in columns]
        for table, columns in _OFFLINE.items()
    }
    return {"form": 1, "partitions": ["experiment", "date"], "tables": {**live, **offline}}


def _value(text: str) -> str:
    """As Hive writes a partition's value: percent-encoded, so that no name leaves its folder."""
    return quote(text, safe=" ").replace(".", "%2E") if set(text) <= {"."} else quote(text, safe=" ")


def _date(day: float) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).strftime("%Y-%m-%d")


def _place(out: Path, table: str, plan: LoggedPlan, day: int) -> Path:
    return out / table / f"experiment={_value(plan.name)}" / f"date={_date(day)}" / f"{plan.digest[:_SHORT]}.parquet"


def _remove_erased(out: Path, plan: LoggedPlan, dates: set[str], *, kept_from: float) -> int:
    """Remove files of days of which nothing is in the log any more; what retention has removed stays: these files are all there is of it."""
    n = 0
    for table in TABLES:
        folder = out / table / f"experiment={_value(plan.name)}"
        for path in folder.glob(f"date=*/{plan.digest[:_SHORT]}.parquet"):
            date = path.parent.name.removeprefix("date=")
            if date >= _date(kept_from / DAY_SECONDS) and date not in dates:
                path.unlink()
                n += 1
        for day in folder.glob("date=*"):
            if not any(day.iterdir()):
                day.rmdir()
    return n


def _live(reader: BulkReader, plan: LoggedPlan, table: str, day: int, *, texts: bool) -> "Iterator[pa.Table]":
    import pyarrow as pa

    schema = arrow_schema(table, extra=("plan",))  # type: ignore[arg-type]  # one of the tables
    names = [one.name for one in schema if one.name != "plan"]
    hidden = () if texts else TEXTS.get(table, ())
    for batch in reader.live_rows(plan.live_id, table, names, day=day):
        yield pa.table({"plan": [plan.digest] * _size(batch), **_without(batch, hidden)}, schema=schema)


def _offline(reader: BulkReader, evaluation_id: str, digest: str, table: str, *, texts: bool) -> "Iterator[pa.Table]":
    import pyarrow as pa

    schema = pa.schema([pa.field("plan", pa.string()), *(pa.field(name, pa.type_for_alias(kind)) for name, kind, _ in _OFFLINE[table])])
    hidden = () if texts else _OFFLINE_TEXTS
    for batch in reader.offline_rows(evaluation_id, table, [name for name, _kind, _ in _OFFLINE[table]]):
        yield pa.table({"plan": [digest] * _size(batch), **_without(batch, hidden)}, schema=schema)


def _size(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _without(batch: Batch, hidden: tuple[str, ...]) -> Batch:
    return {name: [None] * len(values) if name in hidden else values for name, values in batch.items()}


def _write(path: Path, batches: "Iterator[pa.Table]", table: str, done: Exported, *, resume: bool) -> None:
    """One file, batch by batch; none where there is no row."""
    import pyarrow.parquet as pq

    if resume and path.exists():
        done.kept += 1
        return
    first = next(batches, None)
    if first is None:
        path.unlink(missing_ok=True)  # what was exported before is gone from the log
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.tmp")
    try:
        with pq.ParquetWriter(made, first.schema, compression="zstd") as writer:
            n = 0
            for batch in chain((first,), batches):
                writer.write_table(batch)
                n += batch.num_rows
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    done.files += 1
    done.rows[table] = done.rows.get(table, 0) + n


def _replace(path: Path, content: bytes) -> None:
    made = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    made.write_bytes(content)
    made.replace(path)
