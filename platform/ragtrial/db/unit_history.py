"""What units did before an experiment began: the covariate of its analysis, from sums by unit where these are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, exists, func, select

from ragtrial.db.live_models import LiveExperimentRow, LiveTrialRow
from ragtrial.db.live_sums import counted, table_of
from ragtrial.db.live_values import values_of
from ragtrial.db.unit_models import CLOSED, LiveUnitRow, LiveUnitScoreRow, UnitChangeRow, UnitMarkRow
from ragtrial.db.unit_reading import Columns, columns_by_arm
from ragtrial.db.unit_roll_up import FORM
from ragtrial.db.unit_sums import ALL, FORMULAE
from ragtrial.domain.live_scores import Sums
from ragtrial.domain.metric import Metric

trial, kept, scores = LiveTrialRow, LiveUnitRow, LiveUnitScoreRow

_REMEMBERED = 2  # lists of units whose places are kept: those of both arms


class _Other(NamedTuple):
    """Another experiment of the log, of which the same units may be."""

    live_id: int
    name: str
    arms: tuple[str, ...]
    mode: str
    begun: float


class History:
    """What the units of one experiment did before it began: their trials that counted in earlier ones, those with the same salt left out.

    Of an earlier experiment whose last trial came before this one began, the sums by unit are read, as far as they are up to date; they
    are there also when retention has removed its trials. Of any other one the log is read until that moment.

    Args:
        connection: Of a reader.
        live_id: The experiment.
        metrics: All that will be asked for.
    """

    def __init__(self, connection: Connection, live_id: int, metrics: Iterable[str]) -> None:
        self._connection, self._metrics = connection, tuple(metrics)
        mine, others = _others(connection, live_id)
        self._start = mine.begun
        earlier = [other for other in others if other.begun < mine.begun]
        self._summed = [other for other in earlier if _is_summed(connection, other.live_id, until=self._start)]
        closed = set(connection.execute(select(UnitMarkRow.live_id).where(UnitMarkRow.form == CLOSED)).scalars())
        gone = closed.union(other.live_id for other in self._summed)
        self._logged = [other.live_id for other in earlier if other.live_id not in gone and _has_trials(connection, other.live_id)]
        self._sums: _Summed | None = None

    def __bool__(self) -> bool:
        """Whether there is an earlier experiment that may know any of the units."""
        return bool(self._summed or self._logged)

    def of(self, metric: Metric, units: Sequence[str]) -> tuple[Sums, Sums] | None:
        """Totals and counts of a metric, shape (n_units,) each, 0 of units that were not there; None where no unit was."""
        if not self or not units:
            return None
        totals, counts = np.zeros(len(units)), np.zeros(len(units))
        if self._summed:
            if self._sums is None:
                self._sums = _Summed(self._connection, self._summed, self._metrics)
            found = self._sums.of(metric, units)
            totals, counts = totals + found[0], counts + found[1]
        if self._logged:
            found = self._of_log(metric, units)
            totals, counts = totals + found[0], counts + found[1]
        return (totals, counts) if counts.any() else None

    def _of_log(self, metric: Metric, units: Sequence[str]) -> tuple[Sums, Sums]:
        values = values_of(metric, self._logged, trial.reason == "split", trial.served.expression, trial.at < self._start)
        wanted = select(func.coalesce(func.sum(values.c.value), 0.0), func.count(values.c.value), values.c.unit).group_by(values.c.unit)
        found, names = table_of(self._connection, wanted, width=2)
        index = _places({unit: place for place, unit in enumerate(names)}, units)
        return _at(found[:, 0], index), _at(found[:, 1], index)


class _Summed:
    """Sums by unit of experiments that had ended, each column read once."""

    def __init__(self, connection: Connection, others: Sequence[_Other], metrics: Sequence[str]) -> None:
        self._connection, self._others = connection, others
        names = sorted({"trials", *(column for metric in metrics if metric in FORMULAE for column in _columns(metric))})
        self._number: dict[str, int] = {}
        self._seen: list[tuple[Sequence[str], NDArray[np.int64]]] = []
        self._columns, self._place = self._read(kept, names)

    def of(self, metric: Metric, units: Sequence[str]) -> tuple[Sums, Sums]:
        index = self._index(units)
        if metric.name in FORMULAE:
            formula = FORMULAE[metric.name]
            total, n = _sum(self._columns, formula.total), _sum(self._columns, *formula.scored)
            place = self._place
        else:
            columns, place = self._read(scores, ("n", "total"), scores.phase == ALL, scores.metric == metric.name)
            total, n = columns["total"], columns["n"]
        size = len(self._number)
        by_unit = [np.bincount(place, weights=values, minlength=size).astype(np.float64) for values in (total, n)]
        return _at(by_unit[0], index), _at(by_unit[1], index)

    def _read(self, table: Any, names: Sequence[str], *chosen: Any) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Columns of all arms, and the number of each row's unit."""
        parts: list[Columns] = []
        for other in self._others:
            by_arm = columns_by_arm(
                self._connection, table, names, (table.live_id == other.live_id, *chosen), (), arms=other.arms, units=True
            )
            parts += by_arm.values()
        numbers = self._number
        place = np.array([numbers.setdefault(unit, len(numbers)) for part in parts for unit in part.units], dtype=np.int64)
        return {name: np.concatenate([part.numbers[name] for part in parts]) for name in names}, place

    def _index(self, units: Sequence[str]) -> NDArray[np.int64]:
        for seen, index in self._seen:
            if seen is units:
                return index
        found = _places(self._number, units)
        self._seen = [*self._seen, (units, found)][-_REMEMBERED:]
        return found


def needed_by(connection: Connection, live_id: int) -> tuple[str, ...]:
    """Names of later experiments whose covariate is read from this one's log, which they can't have from its sums: it went on beside them.

    Those that are closed have their result, and need nothing any more.
    """
    mine, others = _others(connection, live_id)
    open_ones = [other for other in others if other.begun > mine.begun and other.mode == "split"]
    closed = set(connection.execute(select(UnitMarkRow.live_id).where(UnitMarkRow.form == CLOSED)).scalars())
    return tuple(
        other.name
        for other in open_ones
        if other.live_id not in closed and _has_trials(connection, other.live_id) and _went_on(connection, live_id, other.begun)
    )


def _others(connection: Connection, live_id: int) -> tuple[_Other, list[_Other]]:
    """This experiment, and all that split by another salt: those with the same one had treated the same units already."""
    row = LiveExperimentRow
    found, salts = {}, {}
    for number, name, plan, begun in connection.execute(select(row.id, row.name, row.plan, row.created_at).order_by(row.id)):
        live: Mapping[str, Any] = plan["live"]
        arms = tuple(arm["name"] for arm in plan["arms"])
        found[number] = _Other(number, name, arms, live.get("mode", "split"), begun)
        salts[number] = live["salt"] or name
    return found[live_id], [other for number, other in found.items() if salts[number] != salts[live_id]]


def _is_summed(connection: Connection, live_id: int, *, until: float) -> bool:
    """Whether the sums by unit hold all that counted before a moment, and nothing that came after it."""
    mark = connection.execute(select(UnitMarkRow.form, UnitMarkRow.latest_at).where(UnitMarkRow.live_id == live_id)).first()
    if mark is None or mark.form not in (FORM, CLOSED) or _went_on(connection, live_id, until):
        return False
    if mark.form == CLOSED:
        return mark.latest_at is not None and mark.latest_at < until
    return connection.execute(select(UnitChangeRow.id).where(UnitChangeRow.live_id == live_id).limit(1)).first() is None


def _went_on(connection: Connection, live_id: int, moment: float) -> bool:
    later = select(trial.at).where(*counted(live_id), trial.at >= moment).order_by(trial.at).limit(1)  # in the index by time
    return connection.execute(later).first() is not None


def _has_trials(connection: Connection, live_id: int) -> bool:
    return bool(connection.execute(select(exists().where(*counted(live_id)))).scalar())


def _columns(metric: str) -> set[str]:
    formula = FORMULAE[metric]
    return {*formula.total, *formula.scored[0], *formula.scored[1]}


def _sum(columns: Mapping[str, NDArray[Any]], added: Sequence[str], taken: Sequence[str] = ()) -> Sums:
    found = columns[added[0]].astype(np.float64)
    for name in added[1:]:
        found += columns[name]
    for name in taken:
        found -= columns[name]
    return found


def _places(numbers: Mapping[str, int], units: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter((numbers.get(unit, -1) for unit in units), dtype=np.int64, count=len(units))


def _at(values: Sums, index: NDArray[np.int64]) -> Sums:
    """The values at these places; 0 where the place is -1."""
    if not values.size:
        return np.zeros(index.size)
    found: Sums = np.where(index >= 0, values[index], 0.0)
    return found
