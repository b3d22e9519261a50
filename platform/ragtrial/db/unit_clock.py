"""What the log says of its clocks, continued from where it was looked at last: which trials are stamped long before an earlier one."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, literal, select

from ragtrial.db.live_looks import BACKWARDS_SECONDS
from ragtrial.db.live_models import LiveTrialRow

_LOOKED_AT_AGAIN = 10_000  # ids behind the newest: of several workers on PostgreSQL, one may commit a lower id later
trial = LiveTrialRow


class Clocked(NamedTuple):
    """Of the trials until id `newest`: when the latest is stamped, and how many are stamped long before one logged earlier."""

    newest: int
    latest_at: float | None
    backwards: int


def clock_of(connection: Connection, live_id: int, known: Clocked, *, settled: bool) -> Clocked:
    """The same of all trials, of any assignment; `settled`: only of those behind which no lower id is committed any more."""
    end = None
    if settled:
        newest = connection.execute(select(func.max(trial.id)).where(trial.live_id == live_id)).scalar() or 0
        end = newest - _LOOKED_AT_AGAIN
        if end <= known.newest:
            return known
    earlier: Any = func.max(trial.at).over(order_by=trial.id, rows=(None, -1))
    if known.latest_at is not None:
        latest = literal(known.latest_at)
        earlier = func.coalesce(earlier, latest)
        earlier = case((earlier < latest, latest), else_=earlier)
    mine = (trial.live_id == live_id, trial.id > known.newest, *(() if end is None else (trial.id <= end,)))
    steps = select(trial.id, trial.at, (trial.at - earlier).label("step")).where(*mine).subquery("steps")
    back = func.count(case((steps.c.step < -BACKWARDS_SECONDS, 1)))
    last_id, last_at, n = connection.execute(select(func.max(steps.c.id), func.max(steps.c.at), back)).one()
    if last_id is None:
        return known
    stamps = [at for at in (known.latest_at, last_at) if at is not None]
    return Clocked(newest=last_id, latest_at=max(stamps), backwards=known.backwards + int(n))
