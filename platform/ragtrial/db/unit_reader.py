"""What the analysis of a live experiment looks at, from its sums by unit: the same as from the log, without reading a trial."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from ragtrial.db import live_sums
from ragtrial.db.board_models import LiveBucketRow
from ragtrial.db.live_looks import Times
from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.unit_clock import Clocked, clock_of
from ragtrial.db.unit_history import History
from ragtrial.db.unit_models import CLOSED, LiveUnitRow, LiveUnitScoreRow, RetentionRow, UnitMarkRow
from ragtrial.db.unit_reading import Columns, Row, changed_units, columns_by_arm, unchanged
from ragtrial.db.unit_roll_up import FORM, last_erasure
from ragtrial.db.unit_sums import ALL, FORMULAE, UNTIL_PLANNED, of_units, score_rows_of, unit_rows
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_scores import Exposure, SplitScores, Sums, UnitSums, VoteCounts, VotesByUnit
from ragtrial.domain.metric import Metric, metric_named

MOST_CHANGED = 20_000
"""Units that may be summed on the way; where more have changed, the whole log is read."""

TAIL_UNITS = 5_000
"""Units that quantiles are computed from, with all their trials: pseudonyms are hashes, so that the first ones are a random sample."""

_VOTES = ("served", "solicited", "up", "down", "up_solicited", "down_solicited")
_TOTALS = ("withdrawn", "late", "withdrawn_solicited", "late_solicited")
_ALWAYS = ("first_at", "trials", "failed", *_VOTES)
kept = LiveUnitRow


@dataclass(frozen=True, kw_only=True)
class UnitTables:
    """Everything that is summed by unit, as of one moment.

    Attributes:
        tables: Scores by metric.
        frozen: The deciding metrics' scores until the planned size was reached; empty before that.
        exposure: Who was exposed.
        votes: Thumbs by arm and solicitation.
        votes_by_unit: The same by arm and unit; empty where nobody voted.
        latencies: By arm, the unit's number and waiting time of each trial of the units that were drawn; empty where the sums are closed.
        drawn: How many units were drawn for that, and of how many.
        times: First and last trial, and clocks that were set back.
        planned_at: When the planned size was reached, or None.
        summed: Units that were summed on the way, because they had changed.
        closed: Whether retention has removed trials that are in the sums.
    """

    tables: Mapping[str, SplitScores]
    frozen: Mapping[str, SplitScores]
    exposure: Exposure
    votes: tuple[VoteCounts, ...]
    votes_by_unit: Mapping[str, VotesByUnit]
    latencies: Mapping[str, tuple[NDArray[np.int64], Sums]]
    drawn: tuple[int, int]
    times: Times
    planned_at: float | None
    summed: int
    closed: bool


def unit_tables(
    connection: Connection, live_id: int, states: Sequence[TrafficState], *, experiment: Experiment, start: float, metrics: Sequence[str]
) -> UnitTables | None:
    """All that is summed by unit; None where the experiment is not summed, in another form, or where too much has changed since."""
    found = connection.execute(select(UnitMarkRow.__table__).where(UnitMarkRow.live_id == live_id)).first()
    live = experiment.live
    if found is None or found.form not in (FORM, CLOSED) or live is None or live.mode != "split":
        return None
    changed = [] if found.form == CLOSED else changed_units(connection, live_id, at_most=MOST_CHANGED)
    if changed is None:
        return None
    return _Reading(connection, live_id, experiment, changed, metrics, closed=found.form == CLOSED).tables(
        found, states, start=start, metrics=metrics
    )


class _Reading:
    """One experiment in one transaction."""

    def __init__(
        self, connection: Connection, live_id: int, experiment: Experiment, changed: Sequence[str], metrics: Sequence[str], *, closed: bool
    ) -> None:
        self._connection, self._live_id, self._experiment, self._changed = connection, live_id, experiment, changed
        self._arms = (experiment.control.name, experiment.treatment.name)
        self._history = History(connection, live_id, metrics)
        wanted = select(func.max(RetentionRow.kept_from)).where(RetentionRow.live_id == live_id)
        self._retained: float | None = connection.execute(wanted).scalar()
        self._closed, self._fresh = closed, list[Row]()
        self._made: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Sums] = {}
        if changed:
            self._fresh = [dict(row) for row in connection.execute(unit_rows(connection, live_id, changed)).mappings()]

    def tables(self, mark: Any, states: Sequence[TrafficState], *, start: float, metrics: Sequence[str]) -> UnitTables:
        names = {column for metric in metrics if metric in FORMULAE for column in _columns_of(metric)}
        wanted = sorted({*_ALWAYS, *names, *(["version"] if len(states) > 1 else [])})
        fresh = [row for row in self._fresh if not row["both"]]
        units = columns_by_arm(
            self._connection,
            kept,
            wanted,
            (*self._unchanged(kept), ~kept.both),
            fresh,
            arms=self._arms,
            summed=_TOTALS,
            units=bool(self._history),
        )
        tables = {name: self._of_units(metric_named(name), units) for name in metrics if name in FORMULAE}
        for arm in self._arms:
            for name in names.difference(_ALWAYS):
                del units[arm].numbers[name]
        tables |= {name: self._of_scores(metric_named(name), ALL) for name in metrics if name not in FORMULAE}
        planned_at = mark.reached_at  # of closed sums it stays, whoever is erased: the trials that another moment needs are gone
        if not self._closed:
            planned_at = self._planned_at([units[arm].numbers["first_at"] for arm in self._arms])
        votes = self._votes(units)
        voted = any(count.up or count.down for count in votes)
        exposure = self._exposure(units, states, start=start)
        n_units = sum(units[arm].size for arm in self._arms)
        latencies, drawn = ({}, (0, n_units)) if self._closed else self._latencies(n_units=n_units)
        return UnitTables(
            tables={name: tables[name] for name in metrics},
            frozen=self._frozen(planned_at, mark.reached_at, metrics),
            exposure=exposure,
            votes=votes,
            votes_by_unit={arm: self._by_unit(arm, units[arm]) for arm in self._arms if units[arm].size} if voted else {},
            latencies=latencies,
            drawn=drawn,
            times=self._times(mark),
            planned_at=planned_at,
            summed=len(self._changed),
            closed=self._closed,
        )

    def _of_units(self, metric: Metric, units: Mapping[str, Columns]) -> SplitScores:
        formula = FORMULAE[metric.name]
        made = []
        for arm in self._arms:
            numbers = units[arm].numbers
            totals, counts = self._sum(arm, numbers, formula.total), self._sum(arm, numbers, *formula.scored)
            reasons = {reason: _total(numbers, *terms) for reason, terms in formula.reasons.items()}
            made.append(self._unit_sums(metric, totals, counts, units[arm].units, int(numbers["trials"].sum()), reasons))
        return SplitScores(metric=metric, control=made[0], treatment=made[1])

    def _unit_sums(
        self, metric: Metric, totals: Sums, counts: Sums, units: Sequence[str], n_trials: int, reasons: Mapping[str, int]
    ) -> UnitSums:
        scored = counts > 0
        history = self._history.of(metric, units)
        everyone = bool(scored.all())
        return UnitSums(
            totals=totals if everyone else totals[scored],
            counts=counts if everyone else counts[scored],
            pre_totals=None if history is None else history[0][scored],
            pre_counts=None if history is None else history[1][scored],
            n_trials=n_trials,
            unscored={reason: n for reason, n in sorted(reasons.items(), key=lambda item: -item[1]) if n},
        )

    def _of_scores(self, metric: Metric, phase: int, until: float | None = None) -> SplitScores:
        row = LiveUnitScoreRow
        mine = (*self._unchanged(row), row.phase == phase, row.metric == metric.name, ~row.both, ~self._now_in_both(row))
        fresh: list[Row] = []
        if self._changed:
            chosen = of_units(self._connection, LiveTrialRow.unit, self._changed)
            rows = score_rows_of(self._connection, self._live_id, metric, chosen, phase=phase, until=until)
            both = {one["unit"] for one in self._fresh if one["both"]}
            fresh = [dict(one) for one in self._connection.execute(rows).mappings() if one["unit"] not in both]
        found = columns_by_arm(
            self._connection, row, ("total", "n"), mine, fresh, arms=self._arms, summed=("trials",), units=bool(self._history)
        )
        reasons = {arm: Counter[str]() for arm in self._arms}
        said = select(row.arm, row.reasons, func.count()).where(*mine, row.reasons.is_not(None)).group_by(row.arm, row.reasons)
        for arm, text, n in self._connection.execute(said):
            _count(reasons[arm], text, n)
        for one in fresh:
            _count(reasons[one["arm"]], one["reasons"], 1)
        made = []
        for arm in self._arms:
            numbers = found[arm].numbers
            n_trials, totals = found[arm].sums["trials"], np.asarray(numbers["total"], dtype=np.float64)
            made.append(self._unit_sums(metric, totals, numbers["n"].astype(np.float64), found[arm].units, n_trials, reasons[arm]))
        return SplitScores(metric=metric, control=made[0], treatment=made[1])

    def _now_in_both(self, row: type[LiveUnitScoreRow]) -> Any:
        """Units whose trials until the planned size are of one arm, and later ones of both."""
        return row.unit.in_(select(kept.unit).where(kept.live_id == self._live_id, kept.both))

    def _planned_at(self, first: Sequence[Sums]) -> float | None:
        live = self._experiment.live
        planned = None if live is None else live.units_planned
        moments = np.concatenate(first)
        if planned is None or moments.size < planned:
            return None
        return float(np.partition(moments, planned - 1)[planned - 1])

    def _frozen(self, planned_at: float | None, summed_until: float | None, metrics: Sequence[str]) -> dict[str, SplitScores]:
        live = self._experiment.live
        if planned_at is None or live is None:
            return {}
        deciding = [name for name in dict.fromkeys((live.metrics.primary.name, *live.metrics.secondary)) if name in metrics]
        if planned_at == summed_until:
            return {name: self._of_scores(metric_named(name), UNTIL_PLANNED, planned_at) for name in deciding}
        return {
            name: live_sums.split_scores(
                self._connection, self._live_id, metric_named(name), arms=self._arms, history=self._history, until=planned_at
            )
            for name in deciding
        }

    def _votes(self, units: Mapping[str, Columns]) -> tuple[VoteCounts, ...]:
        found = []
        for arm in sorted(self._arms):
            sums = {name: int(units[arm].numbers[name].sum()) for name in _VOTES} | units[arm].sums
            asked = {name: sums[f"{name}_solicited"] for name in ("up", "down", "withdrawn", "late")}
            rest = {name: sums[name] - n for name, n in asked.items()}
            for solicited, trials, thumbs in ((False, sums["served"] - sums["solicited"], rest), (True, sums["solicited"], asked)):
                if trials:
                    found.append(VoteCounts(arm=arm, solicited=solicited, trials=trials, **thumbs))
        return tuple(found)

    def _exposure(self, units: Mapping[str, Columns], states: Sequence[TrafficState], *, start: float) -> Exposure:
        versions = [state.version for state in states]
        place = {version: number for number, version in enumerate(versions)}
        n_units, n_trials = np.zeros((len(versions), 2), dtype=np.int64), np.zeros((len(versions), 2), dtype=np.int64)
        for column, arm in enumerate(self._arms):
            numbers = units[arm].numbers
            if len(versions) == 1:
                n_units[0, column], n_trials[0, column] = numbers["trials"].size, numbers["trials"].sum()
                continue
            for version in np.unique(numbers["version"]):
                mine = numbers["version"] == version
                n_units[place[int(version)], column] = np.count_nonzero(mine)
                n_trials[place[int(version)], column] = int(numbers["trials"][mine].sum())
        for arm, first, version, n in self._later() if len(versions) > 1 else ():
            column = self._arms.index(arm)
            n_trials[place[first], column] -= n
            n_trials[place[version], column] += n
        in_both, trials_in_both = self._in_both()
        excluded = live_sums.excluded(self._connection, self._live_id) if self._retained is None else self._excluded_before()
        return Exposure(
            state_versions=tuple(versions),
            units=n_units,
            trials=n_trials,
            expected=live_sums.expected_shares(states, "split"),
            in_both=in_both,
            excluded=excluded | ({live_sums.IN_BOTH: trials_in_both} if in_both else {}),
            failed={arm: int(units[arm].numbers["failed"].sum()) for arm in self._arms if units[arm].size},
            erased=live_sums.erased(self._connection, self._live_id),
            new_units=live_sums.new_by_day(np.concatenate([units[arm].numbers["first_at"] for arm in self._arms]), start),
        )

    def _excluded_before(self) -> dict[str, int]:
        """Of the sums by time, where the trials are gone."""
        row = LiveBucketRow
        wanted = select(row.reason, func.sum(row.served)).where(row.live_id == self._live_id, row.reason != "split").group_by(row.reason)
        return {reason: int(n) for reason, n in self._connection.execute(wanted.order_by(row.reason)) if n}

    def _later(self) -> list[tuple[str, int, int, int]]:
        """Arm, first version, later version and its trials, of units that were there under several."""
        wanted = select(kept.arm, kept.version, kept.later, func.count())
        mine = (*self._unchanged(kept), ~kept.both, kept.later.is_not(None))
        rows: list[Any] = [tuple(row) for row in self._connection.execute(wanted.where(*mine).group_by(kept.arm, kept.version, kept.later))]
        rows += [(row["arm"], row["version"], row["later"], 1) for row in self._fresh if row["later"] and not row["both"]]
        return [
            (arm, first, int(part.partition(":")[0]), int(part.partition(":")[2]) * n)
            for arm, first, later, n in rows
            for part in later.split(",")
        ]

    def _in_both(self) -> tuple[int, int]:
        """Units that saw both arms, and their trials."""
        wanted = select(func.count(kept.unit.distinct()), func.coalesce(func.sum(kept.trials), 0))
        units, trials = self._connection.execute(wanted.where(*self._unchanged(kept), kept.both)).one()
        fresh = [row for row in self._fresh if row["both"]]
        return units + len({row["unit"] for row in fresh}), int(trials) + sum(row["trials"] for row in fresh)

    def _latencies(self, *, n_units: int) -> tuple[dict[str, tuple[NDArray[np.int64], Sums]], tuple[int, int]]:
        """Of the first units in the order of their pseudonyms."""
        unit = LiveTrialRow.unit
        chosen: list[Any] = [unit.not_in(select(kept.unit).where(kept.live_id == self._live_id, kept.both))]
        both = sorted({row["unit"] for row in self._fresh if row["both"]})
        if both:
            chosen.append(~of_units(self._connection, unit, both))
        end = None
        if n_units > TAIL_UNITS:
            beyond = select(kept.unit).where(kept.live_id == self._live_id, ~kept.both).order_by(kept.unit).offset(TAIL_UNITS).limit(1)
            end = self._connection.execute(beyond).scalar_one_or_none()
        if end is not None:
            chosen.append(unit < end)
        found = live_sums.latencies(self._connection, self._live_id, arms=self._arms, chosen=chosen)
        return found, (n_units if end is None else TAIL_UNITS, n_units)

    def _unchanged(self, table: Any) -> tuple[Any, ...]:
        return unchanged(table, self._live_id, any_changed=bool(self._changed))

    def _sum(self, arm: str, numbers: Mapping[str, NDArray[Any]], added: Sequence[str], taken: Sequence[str] = ()) -> Sums:
        """Columns added up; the same ones are one array, whoever asks: most metrics have the same trials under them."""
        key = (arm, tuple(added), tuple(taken))
        if key not in self._made:
            found = numbers[added[0]].astype(np.float64)
            for name in added[1:]:
                found += numbers[name]
            for name in taken:
                found -= numbers[name]
            self._made[key] = found
        return self._made[key]

    def _by_unit(self, arm: str, columns: Columns) -> VotesByUnit:
        names = {"asked": "served", "up": "up", "down": "down"}
        names |= {"asked_solicited": "solicited", "up_solicited": "up_solicited", "down_solicited": "down_solicited"}
        seen = columns.numbers["served"] > 0
        everyone = bool(seen.all())
        found = {field: self._sum(arm, columns.numbers, (name,)) for field, name in names.items()}
        return VotesByUnit(**(found if everyone else {field: values[seen] for field, values in found.items()}))

    def _times(self, mark: Any) -> Times:
        mine = live_sums.counted(self._live_id)
        stamps = select(func.min(LiveTrialRow.at), func.max(LiveTrialRow.at)).where(*mine)
        found: tuple[Any, ...] = tuple(self._connection.execute(stamps).one())
        first, last = found
        if self._closed:
            began = select(func.min(kept.first_at)).where(kept.live_id == self._live_id)
            return Times(self._connection.execute(began).scalar_one(), mark.latest_at if last is None else last, mark.backwards)
        settled = mark.erasure == last_erasure(self._connection, self._live_id)
        known = Clocked(mark.newest, mark.latest_at, mark.backwards) if settled else Clocked(0, None, 0)
        return Times(first, last, clock_of(self._connection, self._live_id, known, settled=False).backwards)


def _columns_of(metric: str) -> set[str]:
    formula = FORMULAE[metric]
    terms = [formula.scored, *formula.reasons.values()]
    return {*formula.total, *(name for added, taken in terms for name in (*added, *taken))}


def _count(reasons: Counter[str], text: str | None, times: int) -> None:
    for line in filter(None, (text or "").split("\n")):
        n, _, reason = line.partition(" ")
        reasons[reason] += int(n) * times


def _total(numbers: Mapping[str, NDArray[Any]], added: Sequence[str], taken: Sequence[str]) -> int:
    return sum(int(numbers[name].sum()) for name in added) - sum(int(numbers[name].sum()) for name in taken)
