"""Where live analyses and the dashboard read from: the database itself, or a replica of it."""

from ragtrial.db.engine import parse_url, replica_lag_s
from ragtrial.settings import SQL_READ, read_settings


def read_url(url: str) -> str:
    """The replica that `RAGTRIAL_SQL_READ` names, in place of a PostgreSQL database; else the database.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
    """
    if parse_url(url).get_backend_name() == "sqlite":
        return url
    return read_settings().secret(SQL_READ) or url


def reads_replica() -> bool:
    """Whether a replica is named at all."""
    return read_settings().secret(SQL_READ) is not None


def replica_note(url: str) -> str | None:
    """What is to be said where a replica is read: how far it is behind; None where the database itself is read.

    Raises:
        StoreError: The replica can't be reached.
    """
    place = read_url(url)
    lag = None if place == url else replica_lag_s(place)
    if place == url:
        return None
    if lag is None:
        return f"{SQL_READ} names a server that is no replica: what it holds may be anything"
    return "read from a replica that has all it was sent" if lag == 0 else f"read from a replica that is {lag:.1f} s behind"
