"""One of several machines does what must be done once: a lock that PostgreSQL keeps for a session."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from threading import Lock

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from ragtrial.db import engine as database

_KEEPALIVES = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "25000"}
"""Of this end (libpq's options): without them it takes two hours to learn that the server's machine is gone."""
_SERVERS = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""Of the server: as long would it keep the lock of a machine that is gone."""


class DatabaseLeadership:
    """An advisory lock, held by a connection of its own: it ends with the process, with its machine, and with the server.

    Whoever held it over a server that was started anew holds it no longer, and learns so by asking `won` again: it looks whether its
    session has the lock. Of a machine that is gone without a word both ends learn within half a minute, by TCP's keepalives. A pooler
    between must keep sessions together (PgBouncer: `pool_mode = session`), as for every lock of this kind. From any thread.

    Args:
        url: Of a PostgreSQL database.
        what: Names the work; whoever gives the same name to the same database competes for it.

    Raises:
        InputError: The URL is none.
        MissingExtraError: psycopg is not installed.
    """

    def __init__(self, url: str, what: str) -> None:
        parsed = database.parse_url(url)
        self._name = database.shown(parsed)
        given = {name: value for name, value in _KEEPALIVES.items() if name not in parsed.query}
        watched = parsed.update_query_dict(given).render_as_string(hide_password=False)
        self._engine = database.open_engine(watched).execution_options(isolation_level="AUTOCOMMIT")  # idle, and not in a transaction
        self._key = int.from_bytes(sha256(f"ragtrial {what}".encode()).digest()[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._using = Lock()

    def won(self) -> bool:
        """Whether this process leads now.

        Raises:
            StoreError: The database can't be asked.
        """
        with self._using:
            if self._connection is not None and self._has_lock(self._connection):
                return True
            self._let_go()
            with database.translated(self._name):
                connection = self._connected()
                self._connection = connection if connection.execute(select(func.pg_try_advisory_lock(self._key))).scalar() else None
            if self._connection is None:
                connection.close()
            return self._connection is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until this process leads, however long, and let go at the end.

        Raises:
            StoreError: The database can't be asked.
        """
        try:
            with self._using, database.translated(self._name):
                self._connection = self._connected()
                self._connection.execute(text("SET lock_timeout = 0"))
                self._connection.execute(select(func.pg_advisory_lock(self._key)))
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let another process lead."""
        with self._using:
            self._let_go()

    def _connected(self) -> Connection:
        connection = self._engine.connect()
        connection.detach()  # closed is closed: in a pool it would keep the lock
        for name, value in _SERVERS.items():
            connection.execute(text(f"SET {name} = {value}"))
        return connection

    def _has_lock(self, connection: Connection) -> bool:
        """Asked of the session: after a pooler has put another one behind the connection it is alive, and holds nothing."""
        high, low = (self._key >> 32) & 0xFFFFFFFF, self._key & 0xFFFFFFFF
        mine = "locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND classid = :high AND objid = :low AND objsubid = 1"
        try:
            return bool(connection.execute(text(f"SELECT count(*) FROM pg_locks WHERE {mine}"), {"high": high, "low": low}).scalar())  # noqa: S608
        except SQLAlchemyError:
            return False

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.execute(select(func.pg_advisory_unlock(self._key)))  # a pooler may keep the session
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
