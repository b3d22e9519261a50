"""Live metrics by unit and time, in SQL: how an effect came about, and what the log says of its clocks."""

import math
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Subquery, case, func, literal_column, null, select

from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_sums import bucket, counted, numbered, table_of, units_in_both
from ragtrial.db.live_values import values_of
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.metric import Metric

MOST_STEPS = 50
_SHORTEST_STEP_SECONDS = 1.0
BACKWARDS_SECONDS = 60.0

_Column = ColumnElement[Any]
trial = LiveTrialRow


class Times(NamedTuple):
    """First and last moment of the trials that count, or None where there are none; and trials stamped long before an earlier one."""

    first: float | None
    last: float | None
    backwards: int


def times_of(connection: Connection, live_id: int) -> Times:
    """What the log says of time. Trials are compared with the latest one logged before them, of any assignment."""
    first, last = connection.execute(select(func.min(trial.at), func.max(trial.at)).where(*counted(live_id))).one()
    step = (trial.at - func.max(trial.at).over(order_by=trial.id, rows=(None, -1))).label("step")
    steps = select(step).where(trial.live_id == live_id).subquery("steps")
    backwards = connection.execute(select(func.count()).select_from(steps).where(steps.c.step < -BACKWARDS_SECONDS)).scalar_one()
    return Times(first, last, int(backwards))


def exposed_at(connection: Connection, live_id: int, units: int) -> float | None:
    """When the unit of this number (from 1) was first exposed, those that saw both arms left out; None before that."""
    first = func.min(trial.at).label("first")
    wanted = select(first).where(*counted(live_id), trial.unit.not_in(units_in_both(live_id))).group_by(trial.unit)
    found = connection.execute(wanted.order_by(first).offset(units - 1).limit(1)).scalar_one_or_none()
    return None if found is None else float(found)


def timed_sums(
    connection: Connection, live_id: int, metric: Metric, *, arms: tuple[str, str], mode: str, first: bool = False
) -> TimedSums | None:
    """A metric's sums by unit and step of time, at most `MOST_STEPS` equally long ones; None where no trial counts.

    With `first` everything of a unit stands in the step of its first query: when units came, in a fraction of the time.
    """
    times = times_of(connection, live_id)
    if times.first is None or times.last is None:
        return None
    width = max(_SHORTEST_STEP_SECONDS, math.ceil((times.last - times.first) / MOST_STEPS * 1_000) / 1_000)
    rows = _by_query(live_id, metric, arms=arms, mode=mode)
    step = bucket(connection, rows.c.at - literal_column(repr(times.first)), width)
    if first:
        step = bucket(connection, func.min(rows.c.at) - literal_column(repr(times.first)), width)
    value = rows.c.value
    wanted = select(rows.c.arm, step, func.sum(value), func.count(value), rows.c.unit).where(value.is_not(None))
    table, units = table_of(connection, wanted.group_by(rows.c.unit, rows.c.arm, *([] if first else [step])), width=4)
    n_steps = min(MOST_STEPS, int((times.last - times.first) // width) + 1)
    return TimedSums(
        metric=metric,
        ends=np.minimum(times.first + width * np.arange(1, n_steps + 1), times.last),
        unit=numbered(units),
        arm=table[:, 0].astype(np.int64),
        step=np.clip(table[:, 1].astype(np.int64), 0, n_steps - 1),
        total=table[:, 2],
        count=table[:, 3],
    )


def _by_query(live_id: int, metric: Metric, *, arms: tuple[str, str], mode: str) -> Subquery:
    """One row for each query that counts: unit, arm (0 or 1), at, value. In mode shadow the value is the difference of both answers."""
    outside = [trial.unit.not_in(units_in_both(live_id))] if mode == "split" else []
    values = values_of(metric, [live_id], *counted(live_id)[1:], *outside, made=mode == "shadow")
    if mode != "shadow":
        arm: _Column = case((values.c.arm == arms[1], 1), else_=0)
        return select(values.c.unit, arm.label("arm"), values.c.at, values.c.value).subquery("queries")
    sides = [func.max(case((values.c.arm == name, values.c.value), else_=null())) for name in arms]
    difference = (sides[1] - sides[0]).label("value")
    return (
        select(values.c.unit, literal_column("0").label("arm"), func.min(values.c.at).label("at"), difference)
        .group_by(values.c.unit, values.c.request_id)
        .subquery("queries")
    )
