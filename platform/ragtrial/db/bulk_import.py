"""Many rows of a live log at once: PostgreSQL's COPY, batches of inserts on SQLite; all of an import, or nothing."""

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from ragtrial.db import engine as database
from ragtrial.db.live_models import AuditRow, TrafficStateRow
from ragtrial.db.partitions import BLOCK, PartitionKeeper
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

    def trials(self, batches: "Iterable[pa.Table]") -> int:
        """Insert trials, which must be new; each batch has all columns that are not NULL, without `live_id`."""
        import pyarrow as pa

        n, since_kept = 0, 0
        for batch in batches:
            since_kept += batch.num_rows
            if since_kept >= BLOCK // 2:
                self._keeper.keep(months=False)
                since_kept = 0
            mine = pa.array(np.full(batch.num_rows, self.live_id, dtype=np.int32))
            n += self._copy("live_trials", batch.append_column("live_id", mine))
        self.counts["live_trials"] = self.counts.get("live_trials", 0) + n
        return n

    def about_trials(self, table: str, batches: "Iterable[pa.Table]") -> tuple[int, int]:
        """Insert scores, votes or signals on trials of this experiment; what is there already stays as it is.

        Returns:
            Rows that were inserted, and rows that were there already.

        Raises:
            InputError: A row names a trial that is not in the log.
        """
        columns = _STAGED[table]
        types = {name: self._type(table, name) for name in columns}
        self._run("CREATE TEMPORARY TABLE staged (trial_id VARCHAR, " + ", ".join(f'"{name}" {kind}' for name, kind in types.items()) + ")")
        try:
            given = sum(self._copy("staged", batch) for batch in batches)
            self._require_trials()
            names = ", ".join(f's."{name}"' for name in columns)
            into = ", ".join(f'"{name}"' for name in columns)
            late = f", t.at + {self._late_days * _DAY_SECONDS} < s.at" if table != "live_scores" else ""
            statement = (
                f"INSERT INTO {table} (trial, live_id, {into}{', late' if late else ''}) SELECT t.id, t.live_id, {names}{late} "  # noqa: S608
                f"FROM staged s JOIN {self._named()} WHERE t.live_id = {self.live_id} ON CONFLICT DO NOTHING"
            )
            done = self._connection.execute(text(statement)).rowcount
            self.counts[table] = self.counts.get(table, 0) + done
            return done, given - done
        finally:
            self._run("DROP TABLE staged")

    def _require_trials(self) -> None:
        unknown = (
            f"SELECT count(*), min(s.trial_id) FROM staged s LEFT JOIN {self._named()} AND t.live_id = :live_id "  # noqa: S608
            "WHERE t.id IS NULL"
        )
        n, first = self._connection.execute(text(unknown), {"live_id": self.live_id}).one()
        if n:
            raise InputError(
                f"{n:,} rows name trials that the log of this experiment does not hold, {first!r} first: import their trials first"
            )

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

    def _copy(self, table: str, batch: "pa.Table") -> int:
        if self._connection.dialect.name == "postgresql":
            copy_rows(self._connection, table, batch)
        else:
            names = ", ".join(f'"{name}"' for name in batch.schema.names)
            marks = ", ".join("?" for _ in batch.schema.names)
            rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            self._connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608  # our own names
        return int(batch.num_rows)


_TABLES = {name: table for name, table in AuditRow.metadata.tables.items() if name in _STAGED}


def copy_rows(connection: Connection, table: str, batch: "pa.Table") -> None:
    """Send rows to PostgreSQL by COPY, as CSV that Arrow writes: no value becomes a Python object.

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
        raise InputError(f"nothing was imported: {str(error).partition(chr(10))[0]}{_advice(type(error).__name__)}") from error


def _advice(kind: str) -> str:
    return "; such a trial is in the log already: import each trial once" if kind == "UniqueViolation" else ""


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
        keeper.keep()
        try:
            with database.transaction(engine, name) as connection:
                importing = BulkImport(connection, live_id, late_days=late_days, keeper=keeper)
                yield importing
                row = {"live_id": live_id, "at": time.time(), "actor": actor, "action": "import", "subject": "live log"}
                connection.execute(insert(AuditRow), {**row, "detail": importing.counts})
        except StoreError as error:
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
