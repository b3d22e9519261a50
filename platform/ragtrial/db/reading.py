"""What both readers are: a database opened read-only, of this version's schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from ragtrial.db import engine as database
from ragtrial.db import schema


class ReadOnly:
    """A database of which each transaction sees what was committed when it begins, also while a recorder writes.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
    """

    def __init__(self, url: str) -> None:
        self._name = database.shown(database.parse_url(url))
        self._engine = database.open_engine(url, read_only=True)
        try:
            schema.require_head(self._engine, self._name)
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with database.transaction(self._engine, self._name) as connection:
            yield connection
