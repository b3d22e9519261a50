"""Who may look at the dashboard, by the name that a login provider knows them under."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, func, insert, select

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.board_models import MemberRow
from ragtrial.db.live_models import AuditRow
from ragtrial.db.live_rows import storable
from ragtrial.domain.access import ROLES, Role
from ragtrial.domain.live import GUARDRAIL
from ragtrial.errors import InputError

_LONGEST = 320  # an address may have 64 characters, an @ and a domain of 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody who may look.

    Attributes:
        name: As their login provider knows them: an address that it has verified, in lower case, or ISSUER#SUBJECT.
        role: What they may do; None: it was taken back.
        actor: Who gave it to them, or took it back.
        at: When, in seconds since 1970.
    """

    name: str
    role: Role | None
    actor: str
    at: float


def member_name(name: str) -> str:
    """The name as it is kept and looked up: addresses are the same in any case; what providers call people (ISSUER#SUBJECT) is not.

    Raises:
        InputError: It is empty, or too long for a name.
    """
    kept = storable(name).strip()
    if "@" in kept and "#" not in kept:
        kept = kept.lower()
    if not kept or len(kept) > _LONGEST:
        raise InputError(f"{name[:_LONGEST]!r} is no member's name: give the address that the login provider knows them under")
    return kept


def newest_rows() -> Select[Any]:
    """The row of each name that counts: the newest."""
    newest = select(func.max(MemberRow.id)).group_by(MemberRow.name)
    return select(MemberRow.__table__).where(MemberRow.id.in_(newest)).order_by(MemberRow.name)


def member_of(row: Row[Any]) -> Member:
    """A row as a member."""
    return Member(name=row.name, role=row.role, actor=row.actor, at=row.at)


class MemberStore:
    """Gives roles to members and takes them back; each change is in the audit log, in the same transaction.

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
        self._engine = database.open_engine(url)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def add(self, name: str, role: Role, *, actor: str = "command line") -> Member:
        """Give somebody a role; one that they have already is replaced.

        Raises:
            InputError: There is no such role, or this is no name.
        """
        if role not in ROLES:
            raise InputError(f"role {role!r}: give one of {', '.join(ROLES)}")
        member = Member(name=member_name(name), role=role, actor=storable(actor), at=self._clock())
        if member.name.casefold() == GUARDRAIL:
            raise InputError(
                f"a member may not be called {name!r}: their changes of the traffic would pass for those of a broken guardrail"
            )
        with database.transaction(self._engine, self._name) as connection:
            _write(connection, member, action="add member")
        return member

    def remove(self, name: str, *, actor: str = "command line") -> Member:
        """Take somebody's role back: they are refused from their next click on; doing it again changes nothing.

        Raises:
            InputError: There is no such member.
        """
        wanted = member_name(name)
        with database.transaction(self._engine, self._name) as connection:
            row = connection.execute(newest_rows().where(MemberRow.name == wanted)).first()
            if row is None:
                raise InputError(f"there is no member {wanted!r}: `ragtrial members list` shows who there is")
            if row.role is None:
                return member_of(row)
            member = Member(name=wanted, role=None, actor=storable(actor), at=self._clock())
            _write(connection, member, action="remove member")
        return member

    def list(self) -> tuple[Member, ...]:
        """Everybody who may look, by name; not those whose role was taken back."""
        with database.transaction(self._engine, self._name) as connection:
            return tuple(member_of(row) for row in connection.execute(newest_rows().where(MemberRow.role.is_not(None))))


def _write(connection: Connection, member: Member, *, action: str) -> None:
    connection.execute(insert(MemberRow), {"name": member.name, "role": member.role, "actor": member.actor, "at": member.at})
    row = {"live_id": None, "at": member.at, "actor": member.actor, "action": action, "subject": member.name}
    connection.execute(insert(AuditRow), {**row, "detail": {"role": member.role}})
