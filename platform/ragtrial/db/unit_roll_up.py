"""Keeps the sums by unit: whatever was written, changed or erased, the units that it belongs to are summed again from the log."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, true, update

from ragtrial.contracts import Progress, no_progress
from ragtrial.db import engine as database
from ragtrial.db.live_models import ErasureRow, LiveExperimentRow, LiveTrialRow
from ragtrial.db.live_plans import SummedPlan, summed_plan
from ragtrial.db.live_sums import counted
from ragtrial.db.unit_clock import Clocked, clock_of
from ragtrial.db.unit_models import CLOSED, LiveUnitRow, LiveUnitScoreRow, UnitChangeRow, UnitMarkRow
from ragtrial.db.unit_sums import ALL, SCORE_COLUMNS, UNIT_COLUMNS, UNTIL_PLANNED, of_units, score_rows_of, unit_rows
from ragtrial.domain.metric import metric_named

FORM = 1
"""Version of what is summed."""
_BEGUN = 0
"""Form of sums of which nothing is there yet, while triggers tell of changes already."""
_WRITERS_WAIT_MS = 1_000

_CHANGES_AT_ONCE = {"postgresql": 40_000, "sqlite": 1_000}  # SQLite has one writer, and the service must not wait for long
mark, change, unit_row, score_row = UnitMarkRow, UnitChangeRow, LiveUnitRow, LiveUnitScoreRow


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsRolled:
    """What one pass did.

    Attributes:
        units: Units that were summed again.
        left: Changes that came meanwhile and wait for the next pass.
    """

    units: int
    left: int


def reached_at(connection: Connection, live_id: int, units: int | None) -> float | None:
    """When so many units had been exposed, those that saw both arms left out, as the sums say; None before that."""
    if units is None:
        return None
    wanted = select(unit_row.first_at).where(unit_row.live_id == live_id, ~unit_row.both).order_by(unit_row.first_at)
    found = connection.execute(wanted.offset(units - 1).limit(1)).scalar_one_or_none()
    return None if found is None else float(found)


class UnitRollUp:
    """Writes the sums by unit of the live experiments of one database, mode split. Several processes may: they take turns.

    Args:
        engine: Of a writer.
        name: Of the database, for messages.
        clock: Seconds since 1970.

    Raises:
        StoreError: Every method raises it where the database fails.
    """

    def __init__(self, engine: Engine, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._name, self._clock = engine, name, clock
        self._at_once = _CHANGES_AT_ONCE[engine.dialect.name]

    def roll(self, live_id: int, *, progress: Progress = no_progress) -> UnitsRolled | None:
        """Bring the sums of one live experiment up to date; None for one that is not summed by unit, as it has another mode than split."""
        with database.transaction(self._engine, self._name, turn="long") as connection:
            plan = connection.execute(select(LiveExperimentRow.plan).where(LiveExperimentRow.id == live_id)).scalar_one_or_none()
            planned = None if plan is None else summed_plan(plan)
            if planned is None:
                return None
            form = _form(connection, live_id)
            if form == CLOSED:  # what comes now is in no sum: nobody waits for it
                connection.execute(delete(change).where(change.live_id == live_id))
                return UnitsRolled(units=0, left=0)
            if form != FORM:
                self._begin(connection, live_id)
        with database.transaction(self._engine, self._name, turn="long") as connection:
            self._fill(connection, live_id)
            waiting = self._waiting(connection, live_id)
        advance = progress("summing the live log by unit", waiting) if waiting > self._at_once else None
        units, taken = 0, 0
        while taken < waiting:
            n_changes, n_units = self._portion(live_id, planned)
            if not n_changes:
                break
            units, taken = units + n_units, taken + n_changes
            if advance is not None:
                advance(n_changes)
        with database.transaction(self._engine, self._name, turn="long") as connection:
            if _form(connection, live_id) == FORM:
                self._keep_clock(connection, live_id)
                self._keep_planned(connection, live_id, planned)
            return UnitsRolled(units=units, left=self._waiting(connection, live_id))

    def _waiting(self, connection: Connection, live_id: int) -> int:
        return int(connection.execute(select(func.count()).select_from(change).where(change.live_id == live_id)).scalar_one())

    def _begin(self, connection: Connection, live_id: int) -> None:
        """The first time, and after another form: from now on triggers tell of every change, and nobody reads these sums yet.

        Nothing is missed: writers that are at it are waited for, and whoever writes next waits no longer than it takes to write one row.
        """
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WRITERS_WAIT_MS}ms'")  # new writers queue behind this one
            # Writers name the whole tables; partitions are left to autovacuum, which would be waited for.
            connection.exec_driver_sql("LOCK TABLE ONLY live_trials, ONLY live_scores, ONLY live_votes, ONLY live_signals IN SHARE MODE")
        connection.execute(delete(mark).where(mark.live_id == live_id))
        first = {"live_id": live_id, "form": _BEGUN, "newest": 0, "backwards": 0, "erasure": 0, "at": self._clock()}
        connection.execute(insert(mark), {**first, "latest_at": None, "reached_at": None})

    def _fill(self, connection: Connection, live_id: int) -> None:
        """After `_begin`, or where that was all that a killed process did: every unit has changed."""
        if _form(connection, live_id) != _BEGUN:
            return
        for table in (score_row, unit_row):
            connection.execute(delete(table).where(table.live_id == live_id))
        all_units = select(LiveTrialRow.live_id, LiveTrialRow.unit).where(*counted(live_id)).distinct()
        connection.execute(insert(change).from_select(["live_id", "unit"], all_units))
        connection.execute(update(mark).where(mark.live_id == live_id).values(form=FORM))

    def _portion(self, live_id: int, planned: SummedPlan) -> tuple[int, int]:
        """Some changes and their units; the changes go with the sums, or stay with them. None once another process has closed the sums."""
        with database.transaction(self._engine, self._name, turn="long") as connection:
            if _form(connection, live_id) != FORM:
                return 0, 0
            some = select(change.id).where(change.live_id == live_id).order_by(change.id).limit(self._at_once)
            taken = connection.execute(delete(change).where(change.id.in_(some)).returning(change.unit)).scalars().all()
            units = sorted(set(taken))
            if units:
                self._sum(connection, live_id, planned, units)
            return len(taken), len(units)

    def _sum(self, connection: Connection, live_id: int, planned: SummedPlan, units: Sequence[str]) -> None:
        chosen = of_units(connection, LiveTrialRow.unit, units)
        for table in (unit_row, score_row):
            connection.execute(delete(table).where(table.live_id == live_id, of_units(connection, table.unit, units)))
        connection.execute(insert(unit_row).from_select(list(UNIT_COLUMNS), unit_rows(connection, live_id, units)))
        for name in planned.scored:
            rows = score_rows_of(connection, live_id, metric_named(name), chosen, phase=ALL)
            connection.execute(insert(score_row).from_select(list(SCORE_COLUMNS), rows))
        reached = connection.execute(select(mark.reached_at).where(mark.live_id == live_id)).scalar_one()
        if reached is not None:
            self._until_planned(connection, live_id, planned, chosen, reached)

    def _until_planned(self, connection: Connection, live_id: int, planned: SummedPlan, chosen: Any, reached: float) -> None:
        for name in planned.deciding:
            rows = score_rows_of(connection, live_id, metric_named(name), chosen, phase=UNTIL_PLANNED, until=reached)
            connection.execute(insert(score_row).from_select(list(SCORE_COLUMNS), rows))

    def _keep_planned(self, connection: Connection, live_id: int, planned: SummedPlan) -> None:
        """When the planned size was reached moves only if units of before are erased, or see the other arm; then all of phase 1 goes."""
        before = connection.execute(select(mark.reached_at).where(mark.live_id == live_id)).scalar_one()
        reached = reached_at(connection, live_id, planned.units_planned)
        if reached == before:
            return
        connection.execute(delete(score_row).where(score_row.live_id == live_id, score_row.phase == UNTIL_PLANNED))
        connection.execute(update(mark).where(mark.live_id == live_id).values(reached_at=reached))
        if reached is not None:
            self._until_planned(connection, live_id, planned, true(), reached)

    def _keep_clock(self, connection: Connection, live_id: int) -> None:
        """An erased trial may have been one of those that are counted: then all are counted again."""
        kept = connection.execute(select(mark.newest, mark.latest_at, mark.backwards, mark.erasure).where(mark.live_id == live_id)).one()
        erased = last_erasure(connection, live_id)
        known = Clocked(kept.newest, kept.latest_at, kept.backwards) if kept.erasure == erased else Clocked(0, None, 0)
        found = clock_of(connection, live_id, known, settled=True)
        values = {**found._asdict(), "erasure": erased, "at": self._clock()}
        connection.execute(update(mark).where(mark.live_id == live_id).values(**values))


def _form(connection: Connection, live_id: int) -> int | None:
    found: int | None = connection.execute(select(mark.form).where(mark.live_id == live_id)).scalar_one_or_none()
    return found


def last_erasure(connection: Connection, live_id: int) -> int:
    """The number of an experiment's last erasure; 0 where there was none."""
    return int(connection.execute(select(func.max(ErasureRow.id)).where(ErasureRow.live_id == live_id)).scalar() or 0)
