"""Opening the SQL database; the border at which SQLAlchemy's errors become `StoreError`."""

import json
import math
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool, QueuePool

from ragtrial.errors import InputError, MissingExtraError, StoreError

Synchronous = Literal["NORMAL", "FULL"]
Written = TypeVar("Written")
Turn = Literal["short", "long", "alone"]
"""Which writers wait for each other on PostgreSQL, see `transaction`."""

_WAIT_SECONDS = 30
_READERS_CACHE_KIB = 65_536  # filled as needed: sums by unit look up scores all over their index
_WRITER_LOCK = 0x7261677472  # PostgreSQL's advisory lock of whoever writes; any number that others don't use
_LONG_LOCK = _WRITER_LOCK + 1  # and of whoever writes for minutes
_PLANNED_ANEW = "plan_cache_mode=force_custom_plan"
"""For statements over many rows: after ten times PostgreSQL may keep a plan that is made for no values in particular, as if a list of
40,000 units had ten."""
_DEADLOCK, _DEADLOCKS = "40P01", 3  # SQLSTATE, and how often one is tried again
_PASSWORD = re.compile(r"(:)[^:@/].*@")
_SECRET_OPTIONS = ("password", "passfile", "sslpassword")
_POOL_OPTIONS = {
    "pool_size": "connections that are kept, 5 by default",
    "max_overflow": "connections beside them while many are needed, 10 by default",
    "pool_recycle": "seconds after which a connection is made anew; by default never",
    "pool_timeout": "seconds to wait for a free connection, 30 by default",
    "pool_pre_ping": "1: ask a connection whether it lives before it is used",
    "statement_timeout": "seconds that a reader's statement may take; 0, the default: any",
}
_WHAT_TO_DO = (
    ("not a database", "give another path (stores.sql), or move the file away"),
    ("malformed", "the file is damaged; restore a copy, or move it away and evaluate again"),
    ("locked", "another process keeps writing; wait for it or stop it, then try again"),
    ("lock timeout", "another process keeps writing; wait for it or stop it, then try again"),
    ("readonly", "make the file and its folder writable, or give another path (stores.sql)"),
    ("unable to open", "check that the folder exists and is writable, or give another path (stores.sql)"),
    ("full", "make room on the disk, then try again"),
    ("disk i/o error", "the disk is full or failing: make room or check it, then try again"),
    ("password", "check user and password of the URL (stores.sql)"),
    ("connect", "check that the server runs and that host, port and database of the URL (stores.sql) are right"),
)


def parse_url(url: str) -> URL:
    """The URL of a SQLite file or a PostgreSQL database; PostgreSQL is always spoken to through psycopg.

    Raises:
        InputError: It is no URL, or of another database, or of a database in memory.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # not chained: SQLAlchemy's message quotes the URL with its password
        masked = _PASSWORD.sub(r"\1***@", url)
        raise InputError(f"{masked!r} is no database URL: give sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InputError(f"database {shown(parsed)!r}: give sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:") or parsed.query:
        raise InputError(f"database {shown(parsed)!r}: give the path of a file, as in sqlite:///.ragtrial/ragtrial.db")
    return parsed


def shown(url: URL) -> str:
    """How messages name the database: SQLite's path as it was given, or the URL without its password."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    return url.difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)


def without_password(url: str) -> str:
    """The URL as it may be stored and shown; what is no URL stays as it is, but for what looks like a password."""
    try:
        return make_url(url).difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return _PASSWORD.sub(r"\1***@", url)


def open_engine(url: str, *, read_only: bool = False, wait_s: float = _WAIT_SECONDS, synchronous: Synchronous = "NORMAL") -> Engine:
    """An engine for one writer or for readers.

    A writer's transaction holds SQLite's write lock from its begin. SQLite gets WAL, foreign keys and a time-out; its folder is made
    for writers. Readers see one state of the database throughout a transaction. A server is not contacted before the first connection.

    Args:
        url: Of the database.
        read_only: For readers.
        wait_s: How long to wait for another writer; a connection to a server has at most 10 s, too.
        synchronous: SQLite only. NORMAL: what is committed outlives the process; FULL: a power cut, too.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The folder can't be made; for readers, there is no such file.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, read_only=read_only, wait_s=wait_s, synchronous=synchronous)
    return _open_postgresql(parsed, read_only=read_only, wait_s=wait_s)


def _open_sqlite(url: URL, *, read_only: bool, wait_s: float, synchronous: Synchronous) -> Engine:
    path = Path(url.database or "").absolute()
    if read_only and not file_exists(path):
        raise StoreError(f"there is no database {shown(url)!r}: run an evaluation first, or correct the path (stores.sql)")
    if not read_only:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"can't make the folder {str(path.parent)!r} for the database: {error.strerror}"
            raise StoreError(f"{what}; give another path (stores.sql)") from error

    def connect() -> sqlite3.Connection:
        # SQLite reads a WAL database only where it may write its lock file, or where it is told that nobody writes.
        still = read_only and not os.access(path.parent, os.W_OK) and not _holds_anything(Path(f"{path}-wal"))
        location = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}{'&immutable=1' if still else ''}"
        return sqlite3.connect(location, uri=True, timeout=wait_s, check_same_thread=False)

    pool = NullPool if read_only else QueuePool
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, json_serializer=_to_json)

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to hold the lock while reading
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if read_only:
            connection.execute(f"PRAGMA cache_size = -{_READERS_CACHE_KIB}")
        else:
            connection.execute("PRAGMA journal_mode = WAL")

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def file_exists(path: Path) -> bool:
    """Whether there is something at the path of a SQLite file.

    Raises:
        StoreError: One may not look.
    """
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"can't look at database {str(path)!r}: {error.strerror}; give another path (stores.sql)") from error


def _holds_anything(path: Path) -> bool:
    return file_exists(path) and path.stat().st_size > 0


def _open_postgresql(url: URL, *, read_only: bool, wait_s: float) -> Engine:
    url, pool = _pool_options(url)
    timeout = pool.pop("statement_timeout", 0)
    server = f"-c lock_timeout={math.ceil(1000 * wait_s)}ms" + (f" -c statement_timeout={timeout}s" if timeout and read_only else "")
    server += f" -c {_PLANNED_ANEW}" if read_only else ""
    options: dict[str, Any] = {"connect_timeout": math.ceil(min(wait_s, 10)), "options": server}
    short = wait_s < _WAIT_SECONDS  # who can't wait must not begin with a connection that died while nobody used it
    isolation: Any = "REPEATABLE READ" if read_only else "READ COMMITTED"
    try:
        engine = create_engine(
            url,
            json_serializer=_to_json,
            connect_args=options,
            isolation_level=isolation,
            paramstyle="format",
            **{"pool_pre_ping": short, **pool},
        )
    except ImportError as error:
        raise MissingExtraError(package="psycopg", extra="postgres", purpose=f"the database {shown(url)!r}") from error
    return engine.execution_options(postgresql_readonly=True) if read_only else engine


def _pool_options(url: URL) -> tuple[URL, dict[str, Any]]:
    """The URL without what is ours in its query, and that: the pool's size and habits, and how long a reader's statement may take."""
    found: dict[str, Any] = {}
    for name, meaning in _POOL_OPTIONS.items():
        text = url.query.get(name)
        if text is None:
            continue
        if not isinstance(text, str) or not text.isdecimal() or (name == "pool_pre_ping" and text not in ("0", "1")):
            raise InputError(f"{name} is {text!r} in the URL of database {shown(url)!r}: give a whole number ({meaning})")
        found[name] = bool(int(text)) if name == "pool_pre_ping" else int(text)
    return url.difference_update_query(tuple(_POOL_OPTIONS)), found


def replica_lag_s(url: str) -> float | None:
    """How far a replica is behind, in seconds: since the last change that it has, unless it has all that it was sent; None: it is none.

    NaN: it has not replayed any change yet, so that nobody knows.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        StoreError: It can't be reached.
    """
    caught_up = "pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
    since = "extract(epoch FROM now() - pg_last_xact_replay_timestamp())"
    query = f"SELECT CASE WHEN pg_is_in_recovery() THEN CASE WHEN {caught_up} THEN 0 ELSE coalesce({since}, 'NaN') END END"
    found = _answer(url, query)
    return None if found is None or found[0] is None else max(0.0, float(found[0]))


def identity(url: str) -> tuple[int, int] | None:
    """What a PostgreSQL database and its physical replicas have in common, and no other one: its server's number and its own; SQLite: None.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        StoreError: It can't be reached.
    """
    mine = "SELECT oid FROM pg_database WHERE datname = current_database()"
    found = _answer(url, f"SELECT (SELECT system_identifier FROM pg_control_system()), ({mine})")  # noqa: S608
    return None if found is None else (int(found[0]), int(found[1]))


def _answer(url: str, query: str) -> tuple[Any, ...] | None:
    """The one row with which PostgreSQL answers; None of SQLite."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return None
    engine = open_engine(url, read_only=True)
    try:
        with transaction(engine, shown(parsed)) as connection:
            return tuple(connection.exec_driver_sql(query).one())
    finally:
        engine.dispose()


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn errors of the database called `name` into one-paragraph `StoreError`s."""
    try:
        yield
    except (SQLAlchemyError, UnicodeError) as error:
        found = error.orig if isinstance(error, StatementError) and error.orig is not None else error
        detail = " ".join(str(found).split())
        lost = isinstance(error, OperationalError) and "connect" in detail.lower()
        known = () if isinstance(error, (IntegrityError, DataError)) else _WHAT_TO_DO  # those quote the user's text
        advice = next((f"; {advice}" for word, advice in known if word in detail.lower()), "")
        raise StoreError(f"database {name!r} {'is out of reach' if lost else 'refused'}: {detail}{advice}") from error


@contextmanager
def transaction(engine: Engine, name: str, *, turn: Turn = "short", patient: bool = False) -> Iterator[Connection]:
    """A transaction, all or nothing; one of a writer's engine waits for its turn.

    Args:
        engine: Of a writer or of readers.
        name: Of the database, for messages.
        turn: PostgreSQL only. `short` ones are done in a moment, and take turns with each other; `long` ones (an import, the roll-up)
            take turns with each other and keep no short one waiting, so that traffic can be stopped while one goes on; `alone` waits for
            both. SQLite has one writer at a time, whatever it does.
        patient: PostgreSQL only. Waits for its turn as long as that takes, not only for the engine's `wait_s`.

    Raises:
        StoreError: The database refused; nothing was written.
    """
    with translated(name), engine.begin() as connection:
        writing = not connection.get_execution_options().get("postgresql_readonly", False)
        if writing and engine.dialect.name == "postgresql":
            if turn != "short":
                connection.exec_driver_sql(f"SET LOCAL {_PLANNED_ANEW}")
            if patient:
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            for lock in {"short": (_WRITER_LOCK,), "long": (_LONG_LOCK,), "alone": (_LONG_LOCK, _WRITER_LOCK)}[turn]:
                connection.execute(select(func.pg_advisory_xact_lock(lock)))
            if patient:
                connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")  # of tables, a reader may hold one for ever
        yield connection


def tried_again(write: Callable[[], Written]) -> Written:
    """What `write` returns; where PostgreSQL ends its transaction, as two waited for each other, it is done again.

    Raises:
        StoreError: As `write`; of a deadlock the fourth one.
    """
    for _ in range(_DEADLOCKS):
        try:
            return write()
        except StoreError as error:
            if getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) != _DEADLOCK:
                raise
    return write()
