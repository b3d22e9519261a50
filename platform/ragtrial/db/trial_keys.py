"""Finding live trials by what is unique of them: their id, and the key that a caller gave a request.

On PostgreSQL the log is partitioned by the trial's number, and a unique key there must hold that number. So triggers keep the others in
`live_trial_keys`, which is in one piece, within the transaction of the trial itself. SQLite has them on the trials.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Integer, String, and_, column, or_, select, table

from ragtrial.db.live_models import LiveTrialRow

KEYS = "live_trial_keys"

_kept = table(
    KEYS,
    column("trial_id", String),
    column("trial", BigInteger),
    column("live_id", Integer),
    column("caller", String),
    column("idempotency_key", String),
    column("served", Boolean),
)


def numbers_of(connection: Connection, trial_ids: Collection[str]) -> dict[str, int]:
    """The numbers (`LiveTrialRow.id`) of those of these trials that are in the log."""
    if not trial_ids:
        return {}
    keys, number = _keys(connection)
    found = connection.execute(select(keys.trial_id, number).where(keys.trial_id.in_(trial_ids)))
    return {trial_id: int(n) for trial_id, n in found}


def number_of(connection: Connection, trial_id: str) -> int | None:
    """The number of one trial; None where it is not in the log."""
    return numbers_of(connection, [trial_id]).get(trial_id)


def served_number(connection: Connection, live_id: int, *, caller: str, idempotency_key: str) -> int | None:
    """The number of the served trial of a request that its caller gave this key; None where there is none."""
    keys, number = _keys(connection)
    wanted = select(number).where(_same_request(keys, live_id, caller, idempotency_key), keys.served)
    found = connection.execute(wanted).scalar()
    return None if found is None else int(found)


def taken_by(connection: Connection, *, trial_id: str, live_id: int, caller: str, idempotency_key: str | None) -> str | None:
    """The id of a trial that stands in the way of a new one, as it has the same id or is of the same request; None where none does."""
    keys, _number = _keys(connection)
    same = keys.trial_id == trial_id
    if idempotency_key is not None:
        same = or_(same, _same_request(keys, live_id, caller, idempotency_key))
    return connection.execute(select(keys.trial_id).where(same)).scalar()


def _same_request(keys: Any, live_id: int, caller: str, idempotency_key: str) -> ColumnElement[bool]:
    return and_(keys.live_id == live_id, keys.caller == caller, keys.idempotency_key == idempotency_key)


def _keys(connection: Connection) -> tuple[Any, Any]:
    """Where unique keys are, and the column with the trial's number."""
    if connection.dialect.name == "postgresql":
        return _kept.c, _kept.c.trial
    return LiveTrialRow, LiveTrialRow.id
