"""One of several machines does what must be done once: a lock that PostgreSQL keeps for a session."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from threading import Lock

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from ragtrial.db import engine as database


class DatabaseLeadership:
    """An advisory lock, held by a connection of its own: it ends with the process, with its machine, and with the server.

    Whoever held it over a server that was started anew holds it no longer, and learns so by asking `won` again. A pooler between must
    keep sessions together (PgBouncer: `pool_mode = session`), as for every lock of this kind. From any thread.

    Args:
        url: Of a PostgreSQL database.
        what: Names the work; whoever gives the same name to the same database competes for it.

    Raises:
        InputError: The URL is none.
        MissingExtraError: psycopg is not installed.
    """

    def __init__(self, url: str, what: str) -> None:
        self._name = database.shown(database.parse_url(url))
        self._engine = database.open_engine(url).execution_options(isolation_level="AUTOCOMMIT")  # idle, and not in a transaction
        self._key = int.from_bytes(sha256(f"ragtrial {what}".encode()).digest()[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._using = Lock()

    def won(self) -> bool:
        """Whether this process leads now.

        Raises:
            StoreError: The database can't be asked.
        """
        with self._using:
            if self._connection is not None and self._alive(self._connection):
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
        return connection

    @staticmethod
    def _alive(connection: Connection) -> bool:
        try:
            connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
