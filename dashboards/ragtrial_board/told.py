"""What `ragtrial dashboard` tells its pages, through the environment: JSON in `RAGTRIAL_BOARD`."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ragtrial.settings import read_settings
from ragtrial.suite.opening import databases, named, url_of

VARIABLE = "RAGTRIAL_BOARD"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine's own names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the pages are shown over.

    Attributes:
        url: Of the database; None: the one that appears first in one of the usual places of `folder`.
        folder: Where the dashboard was started, or the experiment's; secrets of a database on a server lie in `.ragtrial/` there.
        open: Everyone is an admin, for the server was told so.
        loopback: Only this machine reaches the server.
        host: The address that the server listens on.
        port: Its port.
        registry: Folder of the experiment's model registry; None: the one in the usual place of `folder`.
        secrets: Where the login provider is configured; None: where Streamlit looks for it.
    """

    url: str | None = None
    folder: str = "."
    open: bool = False
    loopback: bool = True
    host: str = "127.0.0.1"
    port: int = 8501
    registry: str | None = None
    secrets: str | None = None


def told() -> Told:
    """What this process was told."""
    return _told(read_settings().board or "{}")


@lru_cache(maxsize=8)
def _told(text: str) -> Told:
    return Told(**json.loads(text))


def database_url() -> str | None:
    """The database's URL; None where none was named and none has appeared yet. One that was found stays the one."""
    given = told()
    if given.url is not None:
        return given.url
    try:
        return _first_found(given.folder)
    except FileNotFoundError:
        return None


def looked_for() -> str:
    """Which database the dashboard waits for, in words."""
    given = told()
    return f"the database {named(given.url)}" if given.url is not None else f"databases that these commands make in {given.folder}"


@lru_cache(maxsize=8)
def _first_found(folder: str) -> str:
    found = databases(Path(folder))
    if not found:
        raise FileNotFoundError(folder)
    return url_of(found[0])
