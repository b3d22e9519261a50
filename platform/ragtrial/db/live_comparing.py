"""Two answers beside each other and what was preferred, as rows: written in the recorder's batches, and read back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select

from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow
from ragtrial.db.live_models import LiveExperimentRow, LiveTrialRow
from ragtrial.db.live_rows import Row, live_trial_of, storable, trial_row
from ragtrial.db.trial_keys import numbers_of
from ragtrial.domain.live_preference import Comparison, Preference
from ragtrial.errors import DuplicateRequestError, UnknownComparisonError


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both trials of a comparison, and its own row without their numbers: all of it is written or nothing."""

    rows: tuple[Row, ...]
    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """A preference as a row; only the caller who was shown the comparison may judge it."""

    comparison_id: str
    caller: str
    row: Row


def compared(live_id: int, comparison: Comparison) -> Compared:
    """The record of a comparison."""
    return Compared(
        rows=tuple(trial_row(live_id, trial) for trial in comparison.trials),
        row={
            "comparison_id": storable(comparison.comparison_id),
            "live_id": live_id,
            "left_arm": comparison.left.trial.arm,
            "unit": comparison.unit,
            "caller": storable(comparison.caller),
            "idempotency_key": None if comparison.idempotency_key is None else storable(comparison.idempotency_key),
            "at": comparison.at,
        },
    )


def preferred(preference: Preference) -> Preferred:
    """The record of a preference."""
    row = {"key": storable(preference.key), "choice": preference.choice, "comment": storable(preference.comment), "at": preference.at}
    named = storable(preference.comparison_id)
    return Preferred(comparison_id=named, caller=storable(preference.caller), row={"comparison_id": named, **row})


def write_comparisons(connection: Connection, records: Sequence[Compared]) -> None:
    """Write the rows of comparisons whose trials were just written."""
    if not records:
        return
    trial_ids = [row["trial_id"] for record in records for row in record.rows]
    numbers = numbers_of(connection, trial_ids)
    sides = ("left_trial", "right_trial")
    rows = [{**record.row, **{side: numbers[row["trial_id"]] for side, row in zip(sides, record.rows, strict=True)}} for record in records]
    connection.execute(insert(LiveComparisonRow), rows)


def write_preferences(connection: Connection, records: Sequence[Preferred], *, experiment: str) -> Mapping[int, object]:
    """Write preferences, one row for each key.

    Returns:
        By the record's `id()`: `recorded`, `repeated`, or an `UnknownComparisonError`.
    """
    if not records:
        return {}
    wanted = {record.comparison_id for record in records}
    comparison, preference = LiveComparisonRow, LivePreferenceRow
    mine = (
        select(comparison.comparison_id, comparison.caller)
        .join(LiveExperimentRow, LiveExperimentRow.id == comparison.live_id)
        .where(comparison.comparison_id.in_(wanted), LiveExperimentRow.name == experiment)
    )
    shown = {(row.comparison_id, row.caller) for row in connection.execute(mine)}
    keys = select(preference.comparison_id, preference.key).where(preference.comparison_id.in_(wanted))
    seen = {(row.comparison_id, row.key) for row in connection.execute(keys)}
    outcomes: dict[int, object] = {}
    rows: list[Row] = []
    for record in records:
        key = (record.comparison_id, record.row["key"])
        if (record.comparison_id, record.caller) not in shown:
            outcomes[id(record)] = UnknownComparisonError(
                f"there is no comparison {record.comparison_id!r}: give the id that came with the two answers"
            )
        elif key in seen:
            outcomes[id(record)] = "repeated"
        else:
            seen.add(key)
            rows.append(record.row)
            outcomes[id(record)] = "recorded"
    if rows:
        connection.execute(insert(preference), rows)
    return outcomes


def repeated_comparison(connection: Connection, record: Compared) -> DuplicateRequestError | None:
    """Why a comparison was refused, where its caller has used its idempotency key before."""
    row, comparison = record.row, LiveComparisonRow
    same = and_(
        comparison.live_id == row["live_id"],
        comparison.caller == row["caller"],
        comparison.idempotency_key == row["idempotency_key"],
    )
    if row["idempotency_key"] is None or connection.execute(select(comparison.comparison_id).where(same)).first() is None:
        return None
    what = f"a comparison of {row['caller']!r} with the key {row['idempotency_key']!r}"
    return DuplicateRequestError(f"{what} is logged already: nothing of this one was written")


def comparison_where(connection: Connection, *conditions: ColumnElement[bool]) -> Comparison | None:
    """The comparison of these conditions on its row; None where there is none."""
    row = connection.execute(select(LiveComparisonRow.__table__).where(*conditions)).first()
    if row is None:
        return None
    trials: Any = (
        select(*LiveTrialRow.__table__.columns, LiveExperimentRow.name)
        .join(LiveExperimentRow, LiveExperimentRow.id == LiveTrialRow.live_id)
        .where(LiveTrialRow.id.in_((row.left_trial, row.right_trial)))
    )
    found = {trial.id: live_trial_of(trial, trial.name) for trial in connection.execute(trials)}
    return Comparison(
        comparison_id=row.comparison_id,
        left=found[row.left_trial],
        right=found[row.right_trial],
        unit=row.unit,
        caller=row.caller,
        idempotency_key=row.idempotency_key,
        at=row.at,
    )


def preferences_of(connection: Connection, comparison_id: str) -> tuple[Preference, ...]:
    """What was preferred, with its history, in the order in which it came."""
    preference, comparison = LivePreferenceRow, LiveComparisonRow
    wanted: Any = (
        select(*preference.__table__.columns, comparison.caller)
        .join(comparison, comparison.comparison_id == preference.comparison_id)
        .where(preference.comparison_id == storable(comparison_id))
        .order_by(preference.id)
    )
    return tuple(
        Preference(comparison_id=row.comparison_id, caller=row.caller, key=row.key, choice=row.choice, comment=row.comment, at=row.at)
        for row in connection.execute(wanted)
    )
