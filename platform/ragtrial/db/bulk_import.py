"""Many rows of a live log at once: PostgreSQL's COPY, batches of inserts on SQLite; all of an import, or nothing."""

import io
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from ragtrial.db import engine as database
from ragtrial.db.closing import require_open
from ragtrial.db.live_models import AuditRow, TrafficStateRow
from ragtrial.db.partitions import BLOCK, PartitionKeeper
from ragtrial.db.score_turns import take_scores
from ragtrial.db.trial_keys import KEYS
from ragtrial.errors import InputError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

_STAGED = {
    "live_scores": ("metric", "value", "unscored", "scorer", "n_calls", "cost_usd", "at", "opinions"),
    "live_votes": ("key", "thumb", "passage_id", "team", "at", "tags", "comment"),
    "live_signals": ("key", "signal", "passage_id", "at"),
}
_DAY_SECONDS = 86_400


class BulkImport:
    """Writes rows of one live experiment in one transaction.

    Args:
        connection: Of a writer, in a transaction.
        live_id: The experiment.
        late_days: Votes and signals that come later than this after their trial are marked.
        keeper: Makes partitions while millions of trials come, over a connection of its own.
    """

    def __init__(self, connection: Connection, live_id: int, *, late_days: int, keeper: PartitionKeeper) -> None:
        self._connection, self.live_id, self._late_days, self._keeper = connection, live_id, late_days, keeper
        self.counts: dict[str, int] = {}

    def versions(self) -> tuple[int, ...]:
        """Versions of the traffic that the experiment has had."""
        wanted = select(TrafficStateRow.version).where(TrafficStateRow.live_id == self.live_id)
        return tuple(self._connection.execute(wanted).scalars())

    def trials(self, batches: "Iterable[pa.Table]", *, place: str) -> int:
        """Insert trials, which must be new; each batch has all columns that are not NULL, without `live_id`.

        Args:
            batches: In the order of the file.
            place: The file, for messages.

        Raises:
            InputError: A row is refused, e.g. because its trial is in the log already.
        """
        import pyarrow as pa

        n, since_kept = 0, 0
        for batch in batches:
            since_kept += batch.num_rows
            if since_kept >= BLOCK // 2:
                self._keeper.try_keep(months=False)
                since_kept = 0
            mine = pa.array(np.full(batch.num_rows, self.live_id, dtype=np.int32))
            self._require_new(batch, place=place, first=n + 1)
            n += self._copy("live_trials", batch.append_column("live_id", mine), place=place, first=n + 1)
        self.counts["live_trials"] = self.counts.get("live_trials", 0) + n
        return n

    def _require_new(self, batch: "pa.Table", *, place: str, first: int) -> None:
        """SQLite does not say which row it refuses, as PostgreSQL does."""
        if self._connection.dialect.name == "sqlite":
            ids = json.dumps(batch["trial_id"].to_pylist(), ensure_ascii=False)
            there = "SELECT trial_id FROM live_trials WHERE trial_id IN (SELECT value FROM json_each(:ids)) LIMIT 1"
            found = self._connection.execute(text(there), {"ids": ids}).scalar()
            if found is not None:
                raise InputError(_repeated(batch, found, place=place, first=first))

    def about_trials(self, table: str, batches: "Iterable[pa.Table]", *, place: str) -> tuple[int, int]:
        """Insert scores, votes or signals on trials of this experiment; what is there already stays as it is.

        Args:
            table: Its name in the database.
            batches: In the order of the file.
            place: The file, for messages.

        Returns:
            Rows that were inserted, and rows that were there already.

        Raises:
            InputError: A row names a trial that is not in the log.
        """
        columns = _STAGED[table]
        types = {name: self._type(table, name) for name in columns}
        self._run(
            "CREATE TEMPORARY TABLE staged (line BIGINT, trial_id VARCHAR, "
            + ", ".join(f'"{name}" {kind}' for name, kind in types.items())
            + ")"
        )
        try:
            given = self._stage(batches, place=place)
            self._require_trials(place)
            names = ", ".join(f's."{name}"' for name in columns)
            into = ", ".join(f'"{name}"' for name in columns)
            late = f", t.at + {self._late_days * _DAY_SECONDS} < s.at" if table != "live_scores" else ""
            order = " ORDER BY s.line" if table != "live_scores" else ""  # of votes on one answer the last one by id counts
            if table == "live_scores":
                take_scores(self._connection, self.live_id)
            statement = (
                f"INSERT INTO {table} (trial, live_id, {into}{', late' if late else ''}) SELECT t.id, t.live_id, {names}{late} "  # noqa: S608
                f"FROM staged s JOIN {self._named()} WHERE t.live_id = {self.live_id}{order} ON CONFLICT DO NOTHING"
            )
            done = self._connection.execute(text(statement)).rowcount
            self.counts[table] = self.counts.get(table, 0) + done
            return done, given - done
        finally:
            self._run("DROP TABLE staged")

    def _stage(self, batches: "Iterable[pa.Table]", *, place: str) -> int:
        import pyarrow as pa

        n = 0
        for batch in batches:
            lines = pa.array(np.arange(n + 1, n + batch.num_rows + 1))
            n += self._copy("staged", batch.append_column("line", lines), place=place, first=n + 1)
        return n

    def _require_trials(self, place: str) -> None:
        unknown = f"FROM staged s LEFT JOIN {self._named()} AND t.live_id = :live_id WHERE t.id IS NULL"
        mine = {"live_id": self.live_id}
        first = self._connection.execute(text(f"SELECT s.line, s.trial_id {unknown} ORDER BY s.line LIMIT 1"), mine).first()
        if first is not None:
            n = self._connection.execute(text(f"SELECT count(*) {unknown}"), mine).scalar_one()
            more = f" ({n:,} such rows)" if n > 1 else ""
            said = f"is {first.trial_id!r}, which the log of this experiment does not hold{more}: import their trials first"
            raise InputError(f"nothing was imported: {place}:{first.line}: trial_id: {said}")

    def _named(self) -> str:
        """The trials `t` by the ids in `s`."""
        if self._connection.dialect.name == "postgresql":
            return f"({KEYS} k JOIN live_trials t ON t.id = k.trial) ON k.trial_id = s.trial_id"
        return "live_trials t ON t.trial_id = s.trial_id"

    def _type(self, table: str, name: str) -> str:
        column = _TABLES[table].c[name]
        return str(column.type.compile(dialect=self._connection.dialect))

    def _run(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)

    def _copy(self, table: str, batch: "pa.Table", *, place: str, first: int) -> int:
        if self._connection.dialect.name == "postgresql":
            copy_rows(self._connection, table, batch, place=place, first=first)
        else:
            names = ", ".join(f'"{name}"' for name in batch.schema.names)
            marks = ", ".join("?" for _ in batch.schema.names)
            rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            try:
                self._connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608  # our own names
            except IntegrityError as error:
                raise InputError(_refused(batch, str(error.orig), place=place, first=first)) from error
        return int(batch.num_rows)


_TABLES = {name: table for name, table in AuditRow.metadata.tables.items() if name in _STAGED}


def copy_rows(connection: Connection, table: str, batch: "pa.Table", *, place: str, first: int) -> None:
    """Send rows to PostgreSQL by COPY, as CSV that Arrow writes: no value becomes a Python object.

    Args:
        connection: Of a writer, in a transaction.
        table: Where to.
        batch: The rows.
        place: Their file, for messages.
        first: Number of the first one in that file, from 1.

    Raises:
        InputError: A row is refused, e.g. because it is there already.
        StoreError: The database is lost.
    """
    import psycopg

    names = ", ".join(f'"{name}"' for name in batch.schema.names)
    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(_csv(batch))
    except psycopg.OperationalError as error:
        raise StoreError(f"the database was lost while rows were copied: {str(error).partition(chr(10))[0]}") from error
    except psycopg.Error as error:  # only the first line: the others quote the row
        key = re.match(r"Key \(trial_id\)=\((.*)\) already exists", error.diag.message_detail or "", re.DOTALL)
        said = _refused(batch, str(error), place=place, first=first)
        raise InputError(said if key is None else _repeated(batch, key[1], place=place, first=first)) from error


def _refused(batch: "pa.Table", said: str, *, place: str, first: int) -> str:
    """Where a batch was refused, and what the database says, without the row that it quotes in further lines."""
    what = said.partition("\n")[0]
    return f"nothing was imported: {place}: of rows {first:,} to {first + batch.num_rows - 1:,} one is refused: {what}"


def _repeated(batch: "pa.Table", trial_id: str, *, place: str, first: int) -> str:
    import pyarrow.compute as pc

    line = first + pc.index(batch["trial_id"], trial_id).as_py()
    return (
        f"nothing was imported: {place}:{line}: trial_id: {trial_id!r} is in the log already, or in an earlier row: import each trial once"
    )


def _csv(batch: "pa.Table") -> bytes:
    """Text is always quoted, so that an empty one is no NULL."""
    import pyarrow.csv as pc

    out = io.BytesIO()
    pc.write_csv(batch, out, pc.WriteOptions(include_header=False))
    return out.getvalue()


@contextmanager
def bulk_import(url: str, live_id: int, *, late_days: int, actor: str) -> Iterator[BulkImport]:
    """An import that is there as a whole when it ends well, with an entry in the audit log, and not at all otherwise.

    Raises:
        InputError: A row is refused.
        StoreError: The database refused or was lost.
    """
    name = database.shown(database.parse_url(url))
    engine = database.open_engine(url)
    keeper = PartitionKeeper(engine, name=name)
    try:
        keeper.try_keep()
        try:
            with database.transaction(engine, name, turn="long") as connection:
                require_open(connection, live_id, what="nothing was imported")
                importing = BulkImport(connection, live_id, late_days=late_days, keeper=keeper)
                yield importing
                row = {"live_id": live_id, "at": time.time(), "actor": actor, "action": "import", "subject": "live log"}
                connection.execute(insert(AuditRow), {**row, "detail": importing.counts})
        except StoreError as error:  # of what is staged: all of it at once
            if isinstance(error.__cause__, IntegrityError):
                what = str(error.__cause__.orig).partition(chr(10))[0]
                raise InputError(f"nothing was imported: {what}; import each trial once") from error
            raise
        if engine.dialect.name == "postgresql":  # the planner takes a table that grew at once for what it was
            with database.translated(name), engine.connect() as connection:
                for table in ("live_trials", KEYS, *_STAGED):
                    connection.exec_driver_sql(f"ANALYZE {table}")
                connection.commit()
    finally:
        engine.dispose()
