"""The one way to change the traffic of a live experiment: a new version, and an entry in the audit log, in one transaction."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, insert, select

from ragtrial.db import engine as database
from ragtrial.db.closing import require_open
from ragtrial.db.live_models import AuditRow, LiveExperimentRow, TrafficStateRow
from ragtrial.db.live_rows import state_of, storable
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.live import TrafficState
from ragtrial.errors import ConflictError, InputError

WAIT_SECONDS = 5.0
"""How long a change waits for another program that writes to the database: somebody sits before it."""


class TrafficStore(ReadOnly):
    """Changes the traffic of experiments that were served, and registers none.

    Args:
        url: SQLAlchemy URL of the log.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails or refuses.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(url)  # refuses a file that is not there, which a writer's engine would make
        self._writing = database.open_engine(url, wait_s=WAIT_SECONDS, synchronous="FULL")
        self._clock = clock

    def close(self) -> None:
        """Let go of the database."""
        super().close()
        self._writing.dispose()

    def change(
        self,
        live_id: int,
        *,
        expected_version: int,
        actor: str,
        reason: str,
        share: float | None = None,
        treatment: float | None = None,
        stopped: bool | None = None,
    ) -> TrafficState:
        """Change the traffic; what is None stays. Durable when it returns. See `change_state`.

        Raises:
            ConflictError: Another version is current.
            InputError: There is no such live experiment, a share is out of its range, or it is closed and would not be stopped any more.
        """
        with database.transaction(self._writing, self._name) as connection:
            return change_state(
                connection,
                live_id,
                expected_version=expected_version,
                actor=actor,
                reason=reason,
                share=share,
                treatment=treatment,
                stopped=stopped,
                at=self._clock(),
            )


def change_state(
    connection: Connection,
    live_id: int,
    *,
    expected_version: int,
    actor: str,
    reason: str,
    share: float | None,
    treatment: float | None,
    stopped: bool | None,
    at: float,
) -> TrafficState:
    """Add the next version of the traffic's state with its entry in the audit log; what is None stays.

    Args:
        connection: In a writer's transaction, of which there is one at a time.
        live_id: Of the experiment.
        expected_version: The version that the change was decided on.
        actor: Who changes it.
        reason: Why.
        share: Of the units that take part.
        treatment: Share of those that get the treatment.
        stopped: Everyone gets the baseline.
        at: Seconds since 1970.

    Raises:
        ConflictError: Another version is current.
        InputError: There is no such live experiment, a share is out of its range, or it is to be started again though its sums are closed.
    """
    name, current = _name_of(connection, live_id), current_state(connection, live_id)
    if current.version != expected_version:
        raise ConflictError(
            f"the traffic of {name!r} has version {current.version}, changed by {current.actor!r}, and not {expected_version}: "
            "look at it again"
        )
    try:
        state = TrafficState(
            version=current.version + 1,
            share=current.share if share is None else share,
            treatment=current.treatment if treatment is None else treatment,
            stopped=current.stopped if stopped is None else stopped,
            actor=storable(actor),
            reason=storable(reason),
            at=at,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    if not state.stopped:
        require_open(connection, live_id, what="the traffic can't be started again")
    connection.execute(insert(TrafficStateRow), {"live_id": live_id, **state_row(state)})
    detail = {"from": _shares(current), "to": _shares(state), "version": state.version, "reason": state.reason}
    audit = {"live_id": live_id, "at": at, "actor": state.actor, "action": "change traffic", "subject": storable(name), "detail": detail}
    connection.execute(insert(AuditRow), audit)
    return state


def current_state(connection: Connection, live_id: int) -> TrafficState:
    """The newest version; every experiment in the log has one."""
    wanted = select(TrafficStateRow.__table__).where(TrafficStateRow.live_id == live_id).order_by(TrafficStateRow.version.desc()).limit(1)
    return state_of(connection.execute(wanted).one())


def state_row(state: TrafficState) -> dict[str, Any]:
    """The columns of a version, but for whose it is."""
    return {**_shares(state), "version": state.version, "actor": state.actor, "reason": state.reason, "at": state.at}


def _shares(state: TrafficState) -> dict[str, Any]:
    return {"share": state.share, "treatment": state.treatment, "stopped": state.stopped}


def _name_of(connection: Connection, live_id: int) -> str:
    name = connection.execute(select(LiveExperimentRow.name).where(LiveExperimentRow.id == live_id)).scalar()
    if name is None:
        raise InputError(f"there is no live experiment {live_id}: choose one of those that were served")
    return str(name)
