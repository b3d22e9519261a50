"""The live log's partitions on PostgreSQL: months of at most ten million trials, made before they are needed.

Trials are partitioned by ranges of their numbers, which grow with time; scores, votes and signals by their trial's, so that all that
belongs together lies in partitions of one name, and can go together. A number's partition is known by arithmetic. Where a month ends
the numbers go on with the next partition: some are never given.

What finds no partition, as none was made for millions of trials, goes to the default one; with the next look that becomes a partition
like the others, and no row is moved. SQLite has one table of each.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.errors import StoreError

logger = logging.getLogger("ragtrial.db")

BLOCK = 10_000_000
"""Most trials of a partition."""

TABLES = {"live_trials": "id", "live_scores": "trial", "live_votes": "trial", "live_signals": "trial"}
DEFAULT = "default"

_AHEAD = 2  # partitions that wait behind the one that is written to
_FAR = 1000  # partitions behind the newest number, where a default one that holds trials is made to end: no writer gets there meanwhile
KEEPER_LOCK = 0x7261677470
"""PostgreSQL's advisory lock of whoever changes partitions."""
_LOCK_MS = 500  # writers behind us wait as long; their own patience is 2 s
_ATTEMPTS = 6
_PAUSE_SECONDS = 0.5
_STEPS = 20
_EVERY_SECONDS = 600.0
_END_SECONDS = 5.0
_BUSY = ("55P03", "40P01", "23514")  # a lock was not to be had, deadlock; a trial has just come for which the partition was to be made
_BOUNDS = re.compile(r"FROM \((?:'?(\d+)'?|MINVALUE)\) TO \('?(\d+)'?\)")
_OPENED = re.compile(r"opened (\d{4}-\d{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition of each of the four tables.

    Attributes:
        name: What their names end with: the number of its first ten million, or `default`.
        first: The least number of a trial that it may hold; 0 for `default`.
        end: The number behind the last one; None for `default`.
        opened: The month in which it was begun (UTC), as `2026-11`; None where that is not known, or it has not been begun.
    """

    name: str
    first: int
    end: int | None
    opened: str | None

    def holds(self, number: int) -> bool:
        """Whether a trial of this number belongs here; `default` holds what no other does."""
        return self.end is not None and self.first <= number < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSize:
    """What is in a partition.

    Attributes:
        partition: Which one.
        rows: Of `trials`, `scores`, `votes` and `signals`, as PostgreSQL estimates; None where it has not counted yet.
        bytes: On the disk, with indexes.
        first_at: When the trial of the least number arrived, in seconds since 1970; None where it is empty.
        last_at: Likewise of the greatest number.
    """

    partition: Partition
    rows: dict[str, int | None]
    bytes: int
    first_at: float | None
    last_at: float | None


def partitions_of(connection: Connection) -> tuple[Partition, ...]:
    """All partitions in order, the default one last."""
    wanted = (
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class') FROM pg_inherits i "
        "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('live_trials')"
    )
    found = []
    for table, bounds, comment in connection.execute(text(wanted)):
        range_, opened = _BOUNDS.search(bounds), _OPENED.search(comment or "")
        found.append(
            Partition(
                name=table.removeprefix("live_trials_"),
                first=int(range_[1] or 0) if range_ else 0,
                end=int(range_[2]) if range_ else None,
                opened=opened[1] if opened else None,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.end is None, one.first)))


def next_number(connection: Connection) -> int:
    """The number that the next trial gets."""
    return int(connection.execute(text("SELECT last_value + is_called::int FROM live_trials_id_seq")).scalar_one())


def sizes_of(connection: Connection) -> tuple[PartitionSize, ...]:
    """What is in the partitions, without counting."""
    found = []
    for partition in partitions_of(connection):
        rows: dict[str, int | None] = {}
        size = 0
        for table in TABLES:
            estimate = text("SELECT reltuples::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = to_regclass(:name)")
            n, held = connection.execute(estimate, {"name": f"{table}_{partition.name}"}).one()
            rows[table.removeprefix("live_")] = None if n < 0 else n
            size += held
        ends = [
            connection.exec_driver_sql(f"SELECT at FROM live_trials_{partition.name} ORDER BY id {order} LIMIT 1").scalar()  # noqa: S608
            for order in ("ASC", "DESC")
        ]
        found.append(PartitionSize(partition=partition, rows=rows, bytes=size, first_at=ends[0], last_at=ends[1]))
    return tuple(found)


def look(url: str, *, make_ahead: bool = False) -> tuple[tuple[PartitionSize, ...] | None, tuple[str, ...]]:
    """What is in the partitions, and what was done before, see `PartitionKeeper.keep`; None on SQLite, which has none.

    Raises:
        StoreError: There is no such database, or its schema is another than this version's; or it refused.
    """
    name = database.shown(database.parse_url(url))
    engine = database.open_engine(url, read_only=not make_ahead)
    try:
        schema.require_head(engine, name)
        done = PartitionKeeper(engine, name=name).keep() if make_ahead else ()
        if engine.dialect.name != "postgresql":
            return None, done
        with database.translated(name), engine.begin() as connection:
            return sizes_of(connection), done
    finally:
        engine.dispose()


class PartitionKeeper:
    """Makes partitions ahead of need. Several processes may: one of them does it, the others leave it to that one.

    Locks are short: who finds the log in use for half a second lets go and tries again, and leaves it to the next call in the end.

    Args:
        engine: Of a writer.
        name: Of the database, for messages.
        clock: Seconds since 1970: it tells the month.
    """

    def __init__(self, engine: Engine, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._name, self._clock = engine, name, clock
        self._said = ""

    @property
    def needed(self) -> bool:
        """Whether the database has partitions."""
        return self._engine.dialect.name == "postgresql"

    def let_go(self) -> None:
        """Close connections until they are needed again."""
        self._engine.dispose()

    def keep(self, *, months: bool = True) -> tuple[str, ...]:
        """Make what is missing. On SQLite there is nothing to do.

        Args:
            months: Begin another partition where a month has ended, for which writers are waited for.

        Returns:
            What was done, a sentence for each step.

        Raises:
            StoreError: The database refused, e.g. as this user may make no tables; the log is written all the same.
        """
        if not self.needed:
            return ()
        done: list[str] = []
        with database.translated(self._name):
            while len(done) < _STEPS and (step := briefly(self._engine, lambda connection: self._step(connection, months=months))):
                done.append(step)
        return tuple(done)

    def try_keep(self, *, months: bool = True) -> None:
        """As `keep`; what can't be done, as by a user who may make no tables, is logged: the default partition takes what finds no other."""
        try:
            self.keep(months=months)
        except StoreError as error:
            if str(error) != self._said:
                logger.warning("partitions of the live log are not made ahead: %s", error)
            self._said = str(error)

    def count(self) -> None:
        """Have PostgreSQL count what is in each table as a whole, once a day: its planner needs it, and autovacuum looks at partitions alone.

        Raises:
            StoreError: The database failed.
        """
        if not self.needed:
            return
        old = "SELECT relname FROM pg_stat_user_tables WHERE relname = ANY(:names) AND coalesce(last_analyze, '-infinity') < now() - interval '1 day'"
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with database.translated(self._name), engine.connect() as connection:
            for table in connection.execute(text(old), {"names": list(TABLES)}).scalars().all():
                connection.exec_driver_sql(f"ANALYZE {table}")

    def _step(self, connection: Connection, *, months: bool) -> str | None:
        """One change in a transaction of its own; None where there is nothing to do, or somebody else does it."""
        if not connection.execute(select(func.pg_try_advisory_xact_lock(KEEPER_LOCK))).scalar():
            return None
        there, number = partitions_of(connection), next_number(connection)
        least, most = connection.exec_driver_sql(f"SELECT min(id), max(id) FROM live_trials_{DEFAULT}").one()  # noqa: S608
        if least is not None and least >= _end(there):
            return _adopt(connection, there, max(number, most), self._month())
        for block in range(number // BLOCK, number // BLOCK + _AHEAD + 1):
            if not any(one.holds(block * BLOCK) for one in there):
                _make(connection, str(block), f"FOR VALUES FROM ({block * BLOCK}) TO ({(block + 1) * BLOCK})")
                return f"made partition {block}"
        current = next((one for one in there if one.holds(number)), None)
        return self._keep_month(connection, current) if months and current is not None else None

    def _keep_month(self, connection: Connection, current: Partition) -> str | None:
        month = self._month()
        if current.opened is not None and current.opened >= month:
            return None
        held = f"SELECT EXISTS (SELECT 1 FROM live_trials_{current.name})"  # noqa: S608
        if current.opened is None or not connection.exec_driver_sql(held).scalar():
            _note(connection, current.name, month)
            return f"partition {current.name} is that of {month}"
        # Whoever writes is waited for: what comes later than a trial of the next partition has a greater number than it.
        connection.exec_driver_sql("LOCK TABLE ONLY live_trials IN SHARE ROW EXCLUSIVE MODE")
        if not current.holds(next_number(connection)):
            return f"partition {current.name} has become full"
        _go_on(connection, current.end or 0, month)
        return f"{month} begins with partition {(current.end or 0) // BLOCK}"

    def _month(self) -> str:
        moment = time.gmtime(self._clock())
        return f"{moment.tm_year:04}-{moment.tm_mon:02}"


def keeping(keeper: PartitionKeeper, *, every_s: float = _EVERY_SECONDS) -> Callable[[], None]:
    """Keep partitions in a thread, now and then; what can't be done is logged, once.

    Returns:
        What ends it. On SQLite there is no thread.
    """
    if not keeper.needed:
        return lambda: None
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            keeper.try_keep()
            keeper.let_go()
            stopped.wait(every_s)

    thread = threading.Thread(target=run, name="ragtrial-partitions", daemon=True)
    thread.start()

    def end() -> None:
        stopped.set()
        thread.join(_END_SECONDS)

    return end


def briefly(engine: Engine, work: Callable[[Connection], str | None]) -> str | None:
    """Do it in a transaction that waits for no lock longer than half a second, several times if need be; None where it can't be had."""
    for attempt in range(_ATTEMPTS):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                return work(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY:
                raise
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_PAUSE_SECONDS)
    return None


def drop(connection: Connection, partition: Partition) -> None:
    """Remove a partition with all that it holds, in the caller's transaction; no comparison may refer to its trials any more."""
    connection.exec_driver_sql(f"LOCK TABLE ONLY {', ONLY '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
    for table in reversed(TABLES):
        connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {table}_{partition.name}")
        connection.exec_driver_sql(f"DROP TABLE {table}_{partition.name}")


def _end(there: tuple[Partition, ...]) -> int:
    return max((one.end or 0 for one in there), default=0)


def _make(connection: Connection, name: str, bounds: str) -> None:
    """Tables that are filled by nobody are made ready first: locks on those that are in use come last, and are held for milliseconds."""
    for table in TABLES:
        connection.exec_driver_sql(f"CREATE TABLE {table}_{name} (LIKE {table} INCLUDING ALL)")
    for table in list(TABLES)[1:]:
        key = f"FOREIGN KEY (trial) REFERENCES live_trials_{name} (id)"
        connection.exec_driver_sql(f"ALTER TABLE {table}_{name} ADD CONSTRAINT fk_{table}_trial {key}")
    for table in TABLES:
        connection.exec_driver_sql(f"ALTER TABLE {table} ATTACH PARTITION {table}_{name} {bounds}")


def _note(connection: Connection, name: str, month: str) -> None:
    connection.exec_driver_sql(f"COMMENT ON TABLE live_trials_{name} IS 'opened {month}'")


def _go_on(connection: Connection, first: int, month: str) -> None:
    connection.execute(text("SELECT setval('live_trials_id_seq', :first, false)"), {"first": first})
    _note(connection, str(first // BLOCK), month)


def _adopt(connection: Connection, there: tuple[Partition, ...], newest: int, month: str) -> str:
    """The next of three steps that make the default partition one like the others: say what it holds, see that it is so, attach it.

    That it is seen before spares looking at all its rows under the lock.
    """
    known = "SELECT convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(:name) AND conname = :range"
    found = connection.execute(text(known), {"name": f"live_trials_{DEFAULT}", "range": "in_range"}).first()
    if found is None:
        first, end = _end(there), (newest // BLOCK + _FAR) * BLOCK
        for table, column in TABLES.items():
            held = f"CHECK ({column} >= {first} AND {column} < {end}) NOT VALID"
            connection.exec_driver_sql(f"ALTER TABLE {table}_{DEFAULT} ADD CONSTRAINT in_range {held}")
        return f"the default partition holds trials: it becomes one from {first:,} on"
    if not found[0]:
        for table in TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table}_{DEFAULT} VALIDATE CONSTRAINT in_range")
        return "its trials were looked at"
    first, end = (int(bound) for bound in re.findall(r"\d+", found[1].replace("bigint", ""))[:2])
    _attach_default(connection, first, end, month)
    return f"it is partition {first // BLOCK} now"


def _attach_default(connection: Connection, first: int, end: int, month: str) -> None:
    connection.exec_driver_sql(f"LOCK TABLE ONLY {', ONLY '.join(TABLES)}, live_comparisons IN ACCESS EXCLUSIVE MODE")
    sides = ("left_trial", "right_trial")
    for side in sides:  # of the few comparisons: a trial's partition can't be detached while they refer to it
        connection.exec_driver_sql(f"ALTER TABLE live_comparisons DROP CONSTRAINT fk_live_comparisons_{side}")
    name = str(first // BLOCK)
    for table in TABLES:
        connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {table}_{DEFAULT}")
        connection.exec_driver_sql(f"ALTER TABLE {table}_{DEFAULT} RENAME TO {table}_{name}")
        connection.exec_driver_sql(f"ALTER TABLE {table} ATTACH PARTITION {table}_{name} FOR VALUES FROM ({first}) TO ({end})")
        connection.exec_driver_sql(f"ALTER TABLE {table}_{name} DROP CONSTRAINT in_range")
    _make(connection, str(end // BLOCK), f"FOR VALUES FROM ({end}) TO ({end + BLOCK})")
    _make(connection, DEFAULT, "DEFAULT")
    for side in sides:
        key = f"FOREIGN KEY ({side}) REFERENCES live_trials (id)"
        connection.exec_driver_sql(f"ALTER TABLE live_comparisons ADD CONSTRAINT fk_live_comparisons_{side} {key}")
    _go_on(connection, end, month)
