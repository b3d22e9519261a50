"""A database of one's own beside somebody's data, for as long as it is needed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from ragtrial.db import engine as database
from ragtrial.errors import MissingExtraError, SetupError


@contextmanager
def scratch_database(url: str, name: str, *, folder: Path) -> Iterator[str]:
    """Make an empty database, and remove it with all that is in it at the end.

    Args:
        url: Of the database beside which it is made: on PostgreSQL the same server, and nothing in that database is read or written.
        name: Of the new one: letters, digits and underscores.
        folder: Where an SQLite file is made, in a folder of this name.

    Yields:
        Its URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        SetupError: The user may not make databases on the server.
        StoreError: The database is out of reach.
    """
    if not name.replace("_", "").isalnum():
        raise ValueError(f"{name!r} can't name a database: use letters, digits and '_'")
    parsed = database.parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        own = folder / name
        own.mkdir(parents=True)
        try:
            yield f"sqlite:///{own / 'scratch.db'}"
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return
    shown = database.shown(parsed)
    try:
        engine = create_engine(parsed, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 10})
    except ImportError as error:
        raise MissingExtraError(package="psycopg", extra="postgres", purpose=f"the database {shown!r}") from error
    try:
        with database.translated(shown), engine.connect() as connection:
            try:
                connection.execute(text(f'CREATE DATABASE "{name}"'))
            except ProgrammingError as error:
                raise SetupError(
                    f"user {parsed.username or 'of the URL'!r} may not make a scratch database on the server of {shown!r}: "
                    f"ALTER ROLE ... CREATEDB, or name another server or an SQLite file (stores.sql) ({' '.join(str(error.orig).split())})"
                ) from error
        try:
            yield parsed.set(database=name).render_as_string(hide_password=False)
        finally:
            with database.translated(shown), engine.connect() as connection:
                connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    finally:
        engine.dispose()
