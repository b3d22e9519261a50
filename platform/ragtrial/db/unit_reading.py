"""Columns of the sums by unit as arrays: what is kept, and beside it what has changed since, summed on the way."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Integer, LargeBinary, Select, String, func, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow, UnitChangeRow

_ROWS_AT_ONCE = 20_000
_SENT = {"f8": func.float8send, "i4": func.int4send}

Table = type[LiveUnitRow] | type[LiveUnitScoreRow]
Row = dict[str, Any]


class Columns(NamedTuple):
    """Columns of one arm, in one order, shape (n_rows,) each; sums of further ones; and the units' names, where they were asked for."""

    numbers: dict[str, NDArray[Any]]
    sums: dict[str, int]
    units: list[str]

    @property
    def size(self) -> int:
        """Rows."""
        return len(next(iter(self.numbers.values())))


def changed_units(connection: Connection, live_id: int, *, at_most: int) -> list[str] | None:
    """Units of which something has changed since they were summed; None where there are more of them."""
    wanted = select(UnitChangeRow.unit).where(UnitChangeRow.live_id == live_id).distinct().limit(at_most + 1)
    found = list(connection.execute(wanted).scalars())
    return None if len(found) > at_most else found


def unchanged(table: Table, live_id: int, *, any_changed: bool) -> tuple[ColumnElement[bool], ...]:
    """Rows of units of which nothing has changed."""
    if not any_changed:
        return (table.live_id == live_id,)
    changed = select(UnitChangeRow.unit).where(UnitChangeRow.live_id == live_id)
    return table.live_id == live_id, table.unit.not_in(changed)


def columns_by_arm(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    chosen: Iterable[ColumnElement[bool]],
    fresh: Sequence[Row],
    *,
    arms: Sequence[str],
    summed: Sequence[str] = (),
    units: bool = False,
) -> dict[str, Columns]:
    """Columns of both arms: of the chosen rows, and of fresh ones.

    PostgreSQL sends each column as one string of bytes, which is an array already: a million rows never become Python objects.

    Args:
        connection: Of a reader.
        table: Of the sums.
        names: Columns that are numbers and not NULL.
        chosen: Conditions on rows.
        fresh: Rows that were summed on the way.
        arms: All arms of the experiment.
        summed: Columns of whole numbers of which the sum is enough.
        units: Read the units' names as well, which takes a hundred bytes for each.
    """
    parts: dict[str, dict[str, list[NDArray[Any]]]] = {arm: {name: [] for name in names} for arm in arms}
    of: dict[str, list[str]] = {arm: [] for arm in arms}
    sums = {arm: dict.fromkeys(summed, 0) for arm in arms}
    conditions = tuple(chosen)
    sends = connection.dialect.name == "postgresql"
    if summed and not sends:
        totals = select(table.arm, *(func.sum(getattr(table, name)) for name in summed)).where(*conditions).group_by(table.arm)
        for arm, *numbers in connection.execute(totals):
            sums[arm] = {name: int(number) for name, number in zip(summed, numbers, strict=True)}
    rows = (
        _sent(connection, table, names, conditions, sums, units=units)
        if sends
        else _fetched(connection, table, names, conditions, units=units)
    )
    for arm, found, some in rows:
        for name, part in zip(names, found, strict=True):
            parts[arm][name].append(part)
        of[arm] += some
    for row in fresh:
        for name in names:
            parts[row["arm"]][name].append(np.array([row[name]], dtype=_kind(table, name)))
        for name in summed:
            sums[row["arm"]][name] += row[name]
        if units:
            of[row["arm"]].append(row["unit"])
    made: dict[str, Columns] = {}
    for arm in arms:
        whole = {name: np.concatenate(parts[arm].pop(name) or [np.zeros(0, dtype=_kind(table, name))]) for name in names}
        made[arm] = Columns(whole, sums[arm], of[arm])
    return made


def _kind(table: Table, name: str) -> str:
    return "i4" if isinstance(table.__table__.c[name].type, Integer) else "f8"


Part = tuple[str, list[NDArray[Any]], list[str]]


def _sent(
    connection: Connection, table: Table, names: Sequence[str], chosen: Any, sums: dict[str, dict[str, int]], *, units: bool
) -> Iterator[Part]:
    """A row for each arm; the sums that are asked for come with it and are put into `sums`."""
    summed = list(next(iter(sums.values())))
    nothing = literal_column("''::bytea", LargeBinary)
    kinds = [_kind(table, name) for name in names]
    columns: list[Any] = [func.string_agg(_SENT[kind](getattr(table, name)), nothing) for kind, name in zip(kinds, names, strict=True)]
    columns += [func.sum(getattr(table, name)) for name in summed]
    if units:
        columns.append(func.string_agg(table.unit, literal_column("E'\\n'", String)))
    wanted = select(table.arm, *columns).where(*chosen).group_by(table.arm)  # nothing finer: the planner would sort
    for row in streamed(connection, wanted):
        found = [np.frombuffer(part, f">{kind}").astype(kind) for part, kind in zip(row[1:], kinds, strict=False)]
        sums[row[0]] = {name: int(number) for name, number in zip(summed, row[1 + len(names) :], strict=False)}
        yield row[0], found, row[-1].split("\n") if units else []


def streamed(connection: Connection, wanted: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """PostgreSQL's rows one by one, in the binary format, without a cursor on the server, which would forbid parallel plans.

    Raises:
        OperationalError: SQLAlchemy's: the database refused, or was lost.
    """
    import psycopg

    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # no percent signs are doubled
    sql = str(wanted.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor(binary=True) as cursor:
            yield from cursor.stream(sql)
    except psycopg.Error as error:  # of the driver itself, past SQLAlchemy, whose errors are translated
        raise OperationalError(None, None, error) from error


def _fetched(connection: Connection, table: Table, names: Sequence[str], chosen: Any, *, units: bool) -> Iterator[Part]:
    kinds = [_kind(table, name) for name in names]
    for arm in connection.execute(select(table.arm).where(*chosen).distinct()).scalars().all():
        wanted = select(*(getattr(table, name) for name in names), *([table.unit] if units else [])).where(*chosen, table.arm == arm)
        for rows in connection.execute(wanted).partitions(_ROWS_AT_ONCE):
            columns = list(zip(*rows, strict=True))
            found = [np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=False)]
            yield arm, found, list(columns[-1]) if units else []
