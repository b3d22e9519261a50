"""Retention of whole months: a partition of which every trial may go is dropped, where deleting ten million rows takes minutes."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, delete, func, or_, select, text, update

from ragtrial.db import engine as database
from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow
from ragtrial.db.partitions import KEEPER_LOCK, TABLES, Partition, briefly, drop, next_number, partitions_of
from ragtrial.db.trial_keys import KEYS
from ragtrial.db.unit_models import RetentionRow, UnitChangeRow

_NUMBERS_AT_ONCE = 500_000
Counts = dict[int, dict[str, int]]


class Going(NamedTuple):
    """What may go: all trials that arrived before `kept_from`, of the experiments in `retentions`, each with its row of retention."""

    kept_from: float
    retentions: Mapping[int, int]


def drop_whole(engine: Engine, name: str, going: Going, *, advance: Callable[[int], None]) -> Counts:
    """Drop the partitions that hold nothing else; what was dropped before a kill stays so, and is counted.

    A partition that is in use for seconds on end, or that this user may not drop, is left to whoever deletes rows.

    Args:
        engine: Of a writer.
        name: Of the database, for messages.
        going: What may go; the sums of these experiments are closed.
        advance: Told of trials.

    Returns:
        Rows removed by experiment, of `trials`, `scores`, `votes` and `signals`. Nothing on SQLite.

    Raises:
        StoreError: The database failed.
    """
    found: Counts = {}
    if engine.dialect.name != "postgresql":
        return found
    with database.translated(name):
        with engine.begin() as connection:
            ours = _ours(connection)
            if not ours:  # who owns no tables may not read the sequence, either
                return found
            newest, there = next_number(connection), partitions_of(connection)
        try:
            for partition in there:
                if partition.end is not None and partition.end <= newest and partition.name in ours:
                    _drop_and_count(engine, partition, going, found, advance)
        finally:
            _forget_keys(engine)
    return found


def _drop_and_count(engine: Engine, partition: Partition, going: Going, found: Counts, advance: Callable[[int], None]) -> None:
    counts: Counts = {}
    if briefly(engine, partial(_drop_one, partition=partition, going=going, counts=counts)) is None:
        return
    for live_id, removed in counts.items():
        known = found.setdefault(live_id, dict.fromkeys(removed, 0))
        found[live_id] = {table: known[table] + n for table, n in removed.items()}
        advance(removed["trials"])


def _ours(connection: Connection) -> set[str]:
    """Names of the partitions that this user may drop: those that it owns, of tables that it owns."""
    owned = (
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
        "WHERE p.oid = to_regclass('live_trials') AND pg_has_role(c.relowner, 'USAGE') AND pg_has_role(p.relowner, 'USAGE')"
    )
    return {name.removeprefix("live_trials_") for name in connection.execute(text(owned)).scalars()}


def _drop_one(connection: Connection, *, partition: Partition, going: Going, counts: Counts) -> str | None:
    counts.clear()
    connection.execute(select(func.pg_advisory_xact_lock(KEEPER_LOCK)))  # nobody else changes partitions meanwhile
    if partition.name not in {one.name for one in partitions_of(connection)} or _holds_more(connection, partition, going):
        return None
    # A writer that drew a number of it and has not committed yet is waited for; nobody else adds trials to what is behind.
    connection.exec_driver_sql(f"LOCK TABLE live_trials_{partition.name} IN SHARE MODE")
    if _holds_more(connection, partition, going):
        return None
    counts.update({live_id: dict.fromkeys(("trials", "scores", "votes", "signals"), 0) for live_id in going.retentions})
    for table in TABLES:
        grouped = f"SELECT live_id, count(*) FROM {table}_{partition.name} GROUP BY live_id"  # noqa: S608  # names of our own
        for live_id, n in connection.exec_driver_sql(grouped):
            counts[live_id][table.removeprefix("live_")] = n
    _forget_comparisons(connection, partition)
    drop(connection, partition)
    for live_id, removed in list(counts.items()):
        if not any(removed.values()):
            del counts[live_id]
            continue
        values = {table: getattr(RetentionRow, table) + n for table, n in removed.items()}
        connection.execute(update(RetentionRow).where(RetentionRow.id == going.retentions[live_id]).values(**values))
        connection.execute(delete(UnitChangeRow).where(UnitChangeRow.live_id == live_id))  # closed sums change no more
    return "dropped"


def _holds_more(connection: Connection, partition: Partition, going: Going) -> bool:
    """Whether anything in it stays; an experiment of which nothing is there yet may still say something of it."""
    stays = f"SELECT EXISTS (SELECT 1 FROM live_trials_{partition.name} WHERE at >= :kept_from OR live_id NOT IN :gone)"  # noqa: S608
    wanted = text(stays).bindparams(bindparam("gone", expanding=True))
    return bool(connection.execute(wanted, {"kept_from": going.kept_from, "gone": list(going.retentions)}).scalar())


def _forget_comparisons(connection: Connection, partition: Partition) -> None:
    comparison = LiveComparisonRow
    within: Any = [column.between(partition.first, (partition.end or 0) - 1) for column in (comparison.left_trial, comparison.right_trial)]
    gone = select(comparison.comparison_id).where(or_(*within))
    connection.execute(delete(LivePreferenceRow).where(LivePreferenceRow.comparison_id.in_(gone)))
    connection.execute(delete(comparison).where(or_(*within)))


def _forget_keys(engine: Engine) -> None:
    """Unique keys of trials that were dropped, also of those after which a process was killed."""
    with engine.begin() as connection:
        gaps = _gaps(partitions_of(connection))
    for begin, end in gaps:
        number: int | None = begin
        while number is not None:
            number = _forget_some(engine, number, end)


def _gaps(there: Collection[Partition]) -> list[tuple[int, int]]:
    """Ranges of numbers below the last partition's that no partition has."""
    found, behind = [], 0
    for partition in there:
        if partition.end is not None:
            found += [(behind, partition.first)] if partition.first > behind else []
            behind = partition.end
    return found


def _forget_some(engine: Engine, number: int, end: int) -> int | None:
    """Some keys from this number on; the number of the next one there is, or None."""
    mine = {"first": number, "end": end, "until": min(number + _NUMBERS_AT_ONCE, end)}
    with engine.begin() as connection:
        done = connection.execute(text(f"DELETE FROM {KEYS} WHERE trial >= :first AND trial < :until"), mine).rowcount  # noqa: S608
        if done:
            return mine["until"] if mine["until"] < end else None
        left = text(f"SELECT min(trial) FROM {KEYS} WHERE trial >= :first AND trial < :end")  # noqa: S608
        found: int | None = connection.execute(left, mine).scalar()
        return found
