"""Where the drift monitor remembers: references, looks, alerts, and whether they were delivered."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from ragtrial.db import engine as database
from ragtrial.db.monitor_models import MonitorAlertRow, MonitorLookRow, MonitorReferenceRow
from ragtrial.db.monitored import Stretch
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.monitor import PLANNED, Alert
from ragtrial.errors import ConflictError, InputError

DIGEST_BYTES = 8
MOST_ATTEMPTS = 50
"""Tries to deliver a message, over all looks; after that it is left, and said."""

LONGEST_DELIVERY_S = 86_400.0
"""A message older than this is not sent any more: a webhook that is named later does not get what is long past."""

_WAIT_SECONDS = 5.0
_alerts = MonitorAlertRow
_looks = MonitorLookRow
_references = MonitorReferenceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLook:
    """A look as it is kept: `look_id` in the database, `number` in its series, `seen` a digest of the data, `document` the report."""

    look_id: int
    number: int
    at: float
    seen: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert that was raised and not cleared since: the series it is of, the look that raised it, and that look's report."""

    alert: Alert
    look_id: int
    series: str
    document: Mapping[str, Any]

    @property
    def planned(self) -> bool:
        """Whether it is of looks as the plan has them; so count those of a version that did not keep what was asked for."""
        return self.document.get("asked", "") in ("", PLANNED)

    @property
    def compared(self) -> str:
        """What was compared with what, for people."""
        found = [str(self.document.get(key, "")) for key in ("source", "reference")]
        return " compared with ".join(part for part in found if part) or "an unknown source"


class MonitorStore(ReadOnly):
    """Reads and writes what the monitor remembers; each call is one transaction, durable when it returns.

    Args:
        url: SQLAlchemy URL of the log.
        clock: Seconds since 1970.

    Raises:
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's. Every method raises it
            where the database fails or refuses.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(url)
        self._writing = database.open_engine(url, wait_s=_WAIT_SECONDS, synchronous="FULL")
        self._clock = clock

    def close(self) -> None:
        """Let go of the database."""
        super().close()
        self._writing.dispose()

    def stretch(self, experiment: str, name: str) -> Stretch | None:
        """The kept reference of this name; None where there is none."""
        found = self._reference(experiment, "queries", name)
        return None if found is None else Stretch(first=found.first_trial, last=found.last_trial)

    def keep_stretch(self, experiment: str, name: str, stretch: Stretch) -> Stretch:
        """Keep a stretch of the log as a reference, or return the one that another process has kept.

        Raises:
            ConflictError: Another stretch of this name is kept.
        """
        kept = self._keep(experiment, "queries", name, first_trial=stretch.first, last_trial=stretch.last, digests=None)
        if (kept.first_trial, kept.last_trial) != (stretch.first, stretch.last):
            raise ConflictError(f"a reference {name!r} is kept already, of other queries: choose another name")
        return stretch

    def passages(self, experiment: str, name: str) -> frozenset[bytes] | None:
        """Digests of the passages of a kept corpus; None where there is none of this name."""
        found = self._reference(experiment, "corpus", name)
        return None if found is None else _split(found.digests)

    def keep_passages(self, experiment: str, name: str, digests: Sequence[bytes]) -> frozenset[bytes]:
        """Keep the passages of a corpus as a reference, or return those that were kept before."""
        joined = b"".join(sorted(set(digests)))
        return _split(self._keep(experiment, "corpus", name, first_trial=None, last_trial=None, digests=joined).digests)

    def references(self, experiment: str) -> tuple[str, ...]:
        """Names of the kept stretches."""
        wanted = (
            select(_references.name).where(_references.experiment == experiment, _references.kind == "queries").order_by(_references.id)
        )
        with self._transaction() as connection:
            return tuple(connection.execute(wanted).scalars())

    def last_look(self, experiment: str, series: str | None = None) -> StoredLook | None:
        """The newest look of a series, or of any; None before the first."""
        wanted = select(_looks.__table__).where(_looks.experiment == experiment)
        if series is not None:
            wanted = wanted.where(_looks.series == series)
        with self._transaction() as connection:
            found = connection.execute(wanted.order_by(_looks.id.desc()).limit(1)).first()
        if found is None:
            return None
        return StoredLook(look_id=found.id, number=found.number, at=found.at, seen=found.seen, document=found.document)

    def add_look(
        self, experiment: str, series: str, number: int, *, seen: str, document: Mapping[str, Any], alerts: Sequence[Alert]
    ) -> tuple[Alert, ...]:
        """Write a look together with the alerts that it changed; they come back with their numbers.

        Raises:
            ConflictError: Another process has made this look meanwhile; nothing was written.
        """
        now = self._clock()
        with database.transaction(self._writing, self._name) as connection:
            newest = connection.execute(
                select(func.max(_looks.number)).where(_looks.experiment == experiment, _looks.series == series)
            ).scalar()
            if (newest or 0) != number - 1:
                raise ConflictError(f"look {number} of {experiment!r} was made by another process meanwhile")
            row = {"experiment": experiment, "series": series, "number": number, "at": now, "seen": seen, "document": dict(document)}
            look = connection.execute(insert(_looks).values(row).returning(_looks.id)).scalar_one()
            return tuple(_written(connection, alert, look_id=look) for alert in alerts)

    def alerts(self, experiment: str, *, limit: int = 100) -> tuple[Alert, ...]:
        """Those that were raised or cleared last, newest first."""
        with self._transaction() as connection:
            return newest_alerts(connection, experiment, limit=limit)

    def standing(self, experiment: str) -> tuple[Standing, ...]:
        """The alerts that stand, of all series, oldest first."""
        with self._transaction() as connection:
            return standing_alerts(connection, experiment)

    def close_alerts(self, experiment: str, closing: Sequence[tuple[Standing, Alert]]) -> tuple[Alert, ...]:
        """Clear alerts of series that no look will come of any more; they come back with their numbers.

        One that was cleared by another process meanwhile is left out.
        """
        written = []
        with database.transaction(self._writing, self._name) as connection:
            stand = {each.alert.alert_id for each in standing_alerts(connection, experiment)}
            for old, alert in closing:
                if old.alert.alert_id in stand:
                    written.append(_written(connection, alert, look_id=old.look_id))
        return tuple(written)

    def claim(self, experiment: str, *, for_s: float) -> Alert | None:
        """The oldest alert that waits for its delivery, which nobody else will send for so many seconds; None where none waits."""
        now = self._clock()
        free = (_alerts.delivered_at.is_(None), _alerts.attempts < MOST_ATTEMPTS, _alerts.at > now - LONGEST_DELIVERY_S)
        with database.transaction(self._writing, self._name) as connection:
            rows = connection.execute(
                select(_alerts.__table__).where(_alerts.experiment == experiment, *free).order_by(_alerts.id).limit(1)
            )
            found = rows.first()
            if found is None or (found.claimed_until is not None and found.claimed_until > now):
                return None  # in their order: a clearing must not arrive before its raising
            connection.execute(update(_alerts).where(_alerts.id == found.id).values(claimed_until=now + for_s, attempts=found.attempts + 1))
            return replace(_alert(found), attempts=found.attempts + 1)

    def delivered(self, alert_id: int, *, problem: str | None = None) -> None:
        """Write down that a claimed alert was delivered, or why it was not."""
        at = None if problem is not None else self._clock()
        with database.transaction(self._writing, self._name) as connection:
            values = {"delivered_at": at, "problem": problem, "claimed_until": None}
            connection.execute(update(_alerts).where(_alerts.id == alert_id).values(values))

    def _reference(self, experiment: str, kind: str, name: str) -> Row[Any] | None:
        mine = (_references.experiment == experiment, _references.kind == kind, _references.name == name)
        with self._transaction() as connection:
            return connection.execute(select(_references.__table__).where(*mine)).first()

    def _keep(self, experiment: str, kind: str, name: str, **facts: Any) -> Row[Any]:
        mine = (_references.experiment == experiment, _references.kind == kind, _references.name == name)
        with database.transaction(self._writing, self._name) as connection:
            if connection.execute(select(_references.id).where(*mine)).first() is None:
                row = {"experiment": experiment, "kind": kind, "name": name, "at": self._clock(), **facts}
                connection.execute(insert(_references).values(row))
            found: Row[Any] = connection.execute(select(_references.__table__).where(*mine)).one()
            return found


def checked_name(name: str) -> str:
    """A name that a reference can be given.

    Raises:
        InputError: It is empty, reserved, or holds anything but letters, digits, '-' and '_'.
    """
    if name in ("first", "gold") or not name or not all(c.isalnum() or c in "-_" for c in name):
        raise InputError(f"a reference can't be called {name!r}: use letters, digits, '-' and '_', and not first or gold")
    return name


def _split(joined: bytes) -> frozenset[bytes]:
    return frozenset(joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES))


def _written(connection: Connection, alert: Alert, *, look_id: int) -> Alert:
    facts = {"experiment": alert.experiment, "look": look_id, "number": alert.look, "signal": alert.signal, "change": alert.change}
    facts |= {"at": alert.at, "sentence": alert.sentence, "effect": alert.effect, "low": alert.low, "high": alert.high}
    number = connection.execute(insert(_alerts).values({**facts, "attempts": 0}).returning(_alerts.id)).scalar_one()
    return replace(alert, alert_id=int(number))


def standing_alerts(connection: Connection, experiment: str) -> tuple[Standing, ...]:
    """The alerts that stand, of all series, oldest first: a signal of one name may be watched with several references, say."""
    of_look = _looks.id == _alerts.look
    newest = select(func.max(_alerts.id)).join(_looks, of_look).where(_alerts.experiment == experiment)
    wanted = (
        select(_alerts.__table__, _looks.series, _looks.document)
        .join(_looks, of_look)
        .where(_alerts.id.in_(newest.group_by(_looks.series, _alerts.signal)), _alerts.change == "raised")
        .order_by(_alerts.id)
    )
    return tuple(
        Standing(alert=_alert(row), look_id=row.look, series=row.series, document=row.document) for row in connection.execute(wanted)
    )


def newest_alerts(connection: Connection, experiment: str, *, limit: int) -> tuple[Alert, ...]:
    """Those that were raised or cleared last, newest first."""
    wanted = select(_alerts.__table__).where(_alerts.experiment == experiment).order_by(_alerts.id.desc()).limit(limit)
    return tuple(map(_alert, connection.execute(wanted)))


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        alert_id=row.id,
        experiment=row.experiment,
        signal=row.signal,
        change=row.change,
        at=row.at,
        look=row.number,
        sentence=row.sentence,
        effect=row.effect,
        low=row.low,
        high=row.high,
        delivered_at=row.delivered_at,
        attempts=row.attempts,
        problem=row.problem,
    )
