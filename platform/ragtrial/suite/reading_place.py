"""Where live analyses and the dashboard read from: the database itself, or a replica of it."""

import functools
import math

from ragtrial.db.engine import identity, parse_url, replica_lag_s, without_password
from ragtrial.errors import InputError, StoreError
from ragtrial.settings import SQL_READ, read_settings


def read_url(url: str) -> str:
    """The replica that `RAGTRIAL_SQL_READ` names, in place of a PostgreSQL database; else the database.

    Where either can't be reached, nothing is compared: a replica is read also while its database is away.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL, or what is named is no replica of this database.
    """
    if parse_url(url).get_backend_name() == "sqlite":
        return url
    place = read_settings().secret(SQL_READ)
    if place is None or place == url:
        return url
    try:
        same = _is_the_same(url, place)
    except StoreError:
        return place
    if not same:
        raise InputError(
            f"{SQL_READ} names {without_password(place)!r}, which is no replica of the experiment's database {without_password(url)!r} but "
            "another one: give a physical standby of it, and the same database there, or leave the variable out"
        )
    return place


@functools.lru_cache(maxsize=8)
def _is_the_same(url: str, place: str) -> bool:
    return identity(url) == identity(place)


def reads_replica() -> bool:
    """Whether a replica is named at all."""
    return read_settings().secret(SQL_READ) is not None


def replica_note(url: str) -> str | None:
    """What is to be said where a replica is read: how far it is behind; None where the database itself is read.

    Raises:
        InputError: As `read_url`.
        StoreError: The replica can't be reached.
    """
    place = read_url(url)
    lag = None if place == url else replica_lag_s(place)
    if place == url:
        return None
    if lag is None:
        return f"{SQL_READ} names the database itself and no replica of it"
    if math.isnan(lag):
        return "read from a replica that has replayed nothing since it was started: nobody knows how far it is behind"
    return "read from a replica that has all it was sent" if lag == 0 else f"read from a replica that is {lag:.1f} s behind"
