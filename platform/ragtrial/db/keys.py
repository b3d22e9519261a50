"""API keys of the live service, kept as digests: a stolen database opens nothing."""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, insert, select, update

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.live_models import ApiKeyRow, AuditRow
from ragtrial.db.live_rows import storable
from ragtrial.domain.access import ApiKey, Role, Scope
from ragtrial.domain.live import GUARDRAIL
from ragtrial.errors import InputError

DEMONSTRATION = "live demo"
"""Whose key `ragtrial live-demo` makes for itself, and revokes in the end."""

_BEGIN = "rt"
_PREFIX_BYTES = 5
_SECRET_BYTES = 32
_KEY = re.compile(r"rt_([0-9a-z]{6,16})_([0-9A-Za-z]{40,200})")


class KeyStore:
    """Makes, finds and revokes keys; each change is in the audit log, in the same transaction.

    Args:
        url: SQLAlchemy URL; the schema is brought up to date.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The database can't be opened or upgraded. Every method raises it where the database refuses.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        schema.upgrade(url)
        self._name = database.shown(database.parse_url(url))
        self._writing = database.open_engine(url)
        self._reading = database.open_engine(url, read_only=True)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._writing.dispose()
        self._reading.dispose()

    def create(
        self,
        name: str,
        role: Role,
        *,
        pepper: str,
        may_assert_user: bool = False,
        rate_per_minute: int | None = None,
        limited_to: Collection[Scope] | None = None,
        actor: str = "command line",
        key: str | None = None,
    ) -> str:
        """Make a key, or take one that was made elsewhere.

        Args:
            name: Whose it is.
            role: Decides its scopes.
            pepper: What digests are made with besides the secret; kept outside the database, and the same for `find`.
            may_assert_user: It may name the unit by a trusted header.
            rate_per_minute: Requests that it may make in a minute; None: no limit.
            limited_to: The only scopes of its role that it gets; None: all.
            actor: Who makes it.
            key: `rt_<prefix>_<secret>`, from a store of secrets; given again it changes nothing, and revoked it stays refused.

        Returns:
            The key, `rt_<prefix>_<secret>`: this once, for it is not kept.

        Raises:
            InputError: These are not what `ApiKey` allows, the name is the guardrails' own, `key` is none, or its prefix is taken by
                another key.
        """
        if name.strip().casefold() == GUARDRAIL:
            raise InputError(f"a key may not be called {name!r}: its changes of the traffic would pass for those of a broken guardrail")
        prefix, secret = (secrets.token_hex(_PREFIX_BYTES), secrets.token_hex(_SECRET_BYTES)) if key is None else _parts(key)
        now = self._clock()
        limits = None if limited_to is None else frozenset(limited_to)
        try:
            made = ApiKey(
                prefix=prefix,
                name=storable(name),
                role=role,
                may_assert_user=may_assert_user,
                rate_per_minute=rate_per_minute,
                limited_to=limits,
                created_at=now,
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        row = {
            "prefix": prefix,
            "name": made.name,
            "role": role,
            "digest": _digest(secret, pepper),
            "may_assert_user": may_assert_user,
            "rate_per_minute": rate_per_minute,
            "limited_to": None if limits is None else sorted(limits),
            "created_at": now,
            "revoked_at": None,
        }
        with database.transaction(self._writing, self._name) as connection:
            there = connection.execute(select(ApiKeyRow.__table__).where(ApiKeyRow.prefix == prefix)).first()
            if there is None:
                connection.execute(insert(ApiKeyRow), row)
                self._audit(connection, actor=actor, action="create key", made=made)
            elif not hmac.compare_digest(there.digest, row["digest"]) or there.role != role:
                raise InputError(
                    f"prefix {prefix!r} belongs to a key of role {there.role} that has another secret or was made with another pepper: "
                    "give a new key, or the role and the pepper that it was made with"
                )
        return f"{_BEGIN}_{prefix}_{secret}"

    def find(self, key: str, pepper: str) -> ApiKey | None:
        """The key that this is, also where it is revoked (`revoked_at`); None where there is none, or its secret or the pepper is another."""
        with database.transaction(self._reading, self._name) as connection:
            return find_key(connection, key, pepper)

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, revoked ones too, oldest first."""
        with database.transaction(self._reading, self._name) as connection:
            rows = connection.execute(select(ApiKeyRow.__table__).order_by(ApiKeyRow.created_at, ApiKeyRow.prefix))
            return tuple(key_of(row) for row in rows)

    def revoke(self, prefix: str, actor: str) -> ApiKey:
        """Refuse the key from now on; revoking it again changes nothing.

        Raises:
            InputError: There is no such key.
        """
        wanted = select(ApiKeyRow.__table__).where(ApiKeyRow.prefix == storable(prefix))
        with database.transaction(self._writing, self._name) as connection:
            row = connection.execute(wanted).first()
            if row is None:
                raise InputError(f"there is no key {prefix!r}: give its prefix, the part between 'rt_' and the next '_'")
            if row.revoked_at is None:
                connection.execute(update(ApiKeyRow).where(ApiKeyRow.prefix == row.prefix).values(revoked_at=self._clock()))
                self._audit(connection, actor=actor, action="revoke key", made=key_of(row))
            return key_of(connection.execute(wanted).one())

    def _audit(self, connection: Connection, *, actor: str, action: str, made: ApiKey) -> None:
        row = {"live_id": None, "at": self._clock(), "actor": storable(actor), "action": action, "subject": made.prefix}
        connection.execute(insert(AuditRow), {**row, "detail": {"name": made.name, "role": made.role, "scopes": sorted(made.scopes)}})


def _parts(key: str) -> tuple[str, str]:
    found = _KEY.fullmatch(key.strip())
    if found is None:
        raise InputError("that is no key: give rt_, 6 to 16 digits or small letters, _, and at least 40 letters and digits drawn at random")
    return found[1], found[2]


def _digest(secret: str, pepper: str) -> str:
    return hmac.new(pepper.encode("utf-8", "surrogatepass"), secret.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def find_key(connection: Connection, key: str, pepper: str) -> ApiKey | None:
    """As `KeyStore.find`, in the caller's transaction."""
    begin, _, rest = key.partition("_")
    prefix, _, secret = rest.partition("_")
    if begin != _BEGIN or not secret:
        return None
    row = connection.execute(select(ApiKeyRow.__table__).where(ApiKeyRow.prefix == storable(prefix))).first()
    digest = _digest(secret, pepper)
    same = hmac.compare_digest(digest, row.digest if row is not None else _digest("", pepper))  # as long for a prefix that is unknown
    return key_of(row) if row is not None and same else None


def key_of(row: Row[Any]) -> ApiKey:
    """A row as a key."""
    return ApiKey(
        prefix=row.prefix,
        name=row.name,
        role=row.role,
        may_assert_user=row.may_assert_user,
        rate_per_minute=row.rate_per_minute,
        limited_to=None if row.limited_to is None else frozenset(row.limited_to),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
