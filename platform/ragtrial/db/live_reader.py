"""The only way out of the log of live experiments: read-only, and in domain types."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, case, func, null, select

from ragtrial.db import live_comparing, live_looks, live_sums
from ragtrial.db.board_models import LiveComparisonRow
from ragtrial.db.closing import closed
from ragtrial.db.live_models import (
    AuditRow,
    LiveExperimentRow,
    LiveScoreRow,
    LiveSignalRow,
    LiveTrialRow,
    LiveVoteRow,
    OutageRow,
    TrafficStateRow,
)
from ragtrial.db.live_rows import live_trial_of, score_of, signal_of, state_of, storable, vote_of
from ragtrial.db.reading import ReadOnly
from ragtrial.db.trial_keys import number_of, served_number
from ragtrial.db.unit_history import History
from ragtrial.db.unit_reader import UnitTables, unit_tables
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.live_preference import Comparison, Preference
from ragtrial.domain.live_scores import Exposure, SplitScores, VoteCounts, VotesByUnit, WithinScores
from ragtrial.domain.live_trial import LiveTrial, Outage, SignalEvent, Vote
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.score import Score
from ragtrial.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExperiment:
    """A live experiment under one plan; another plan of the same name is another one.

    Attributes:
        live_id: Its number in the log.
        name: Of the experiment.
        live_digest: Of the plan.
        plan: As `Experiment` reads it; units in `allow`, `deny` and `overrides` are pseudonyms.
        facts: What was known when it was first served: parity, models, environment; JSON.
        created_at: Its start, seconds since 1970.
    """

    live_id: int
    name: str
    live_digest: str
    plan: dict[str, Any]
    facts: dict[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Something that somebody did: `live_id` is None for keys; `at` in seconds since 1970."""

    live_id: int | None
    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBucket:
    """Trials of one arm that arrived in one stretch of time.

    Attributes:
        start: Of the stretch, seconds since 1970.
        arm: The arm that made them.
        trials: All of them, whatever the reason of their assignment.
        counted: Those that belong to the analysis (`split`).
        failed: Those that failed.
        mean_waited_ms: Of those that did not fail; None where all did.
    """

    start: float
    arm: str
    trials: int
    counted: int
    failed: int
    mean_waited_ms: float | None


_LOOKED_AT_AGAIN = 10_000  # ids behind the newest

Latencies = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]


class LiveReader(ReadOnly):
    """Reads the log of live experiments; sees what was committed when each call begins. Threads may share it.

    Sums are made by the database, by unit. An analysis counts the trials whose assignment has the reason `split`: served ones, and silent
    twins; in mode split not those of units that saw both arms.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL. Methods that take a `live_id` raise it where there is none.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._settled: dict[tuple[int, tuple[str, ...]], int] = {}  # below these ids no trial lacks a score of the metrics

    def experiments(self) -> tuple[LiveExperiment, ...]:
        """All of them, in the order in which they were first served."""
        with self._transaction() as connection:
            return tuple(map(_experiment, connection.execute(select(LiveExperimentRow.__table__).order_by(LiveExperimentRow.id))))

    def closed(self) -> frozenset[int]:
        """Numbers of those whose sums are closed: retention has removed trials of them, and what they came to is stored."""
        with self._transaction() as connection:
            return closed(connection)

    def live_id(self, experiment: Experiment) -> int:
        """The number of the experiment under exactly this plan.

        Raises:
            InputError: It was never served; the message says whether it was under another plan.
        """
        wanted = select(LiveExperimentRow.id, LiveExperimentRow.live_digest).where(LiveExperimentRow.name == experiment.name)
        with self._transaction() as connection:
            found = {row.live_digest: row.id for row in connection.execute(wanted)}
        digest = experiment.live_digest()
        if digest in found:
            return int(found[digest])
        if found:
            what = f"experiment {experiment.name!r} was served under another plan ({len(found)} in {self._name!r}), and not under this one"
            raise InputError(f"{what}: take the file that was served, or serve this one (ragtrial serve)")
        raise InputError(f"experiment {experiment.name!r} was never served with the database {self._name!r}: start it (ragtrial serve)")

    def plan(self, live_id: int) -> dict[str, Any]:
        """The experiment as it was planned, as `Experiment` reads it; units named in it are pseudonyms."""
        with self._reading(live_id) as (_connection, experiment):
            return experiment.plan

    def traffic(self, live_id: int) -> TrafficState:
        """What holds of the traffic now."""
        return self.traffic_history(live_id)[-1]

    def traffic_history(self, live_id: int) -> tuple[TrafficState, ...]:
        """All versions, oldest first; at least one."""
        with self._reading(live_id) as (connection, _experiment):
            return _states(connection, live_id)

    def trial(self, trial_id: str) -> LiveTrial | None:
        """The trial of this id, of any experiment; None where there is none."""
        with self._transaction() as connection:
            return _numbered(connection, number_of(connection, storable(trial_id)))

    def by_key(self, live_id: int, *, caller: str, idempotency_key: str) -> LiveTrial | None:
        """The served trial of a request that the caller gave this key; None where there is none."""
        key = storable(idempotency_key)
        with self._transaction() as connection:
            return _numbered(connection, served_number(connection, live_id, caller=storable(caller), idempotency_key=key))

    def comparison(self, comparison_id: str) -> Comparison | None:
        """The two answers of this id, of any experiment; None where there are none."""
        with self._transaction() as connection:
            return live_comparing.comparison_where(connection, LiveComparisonRow.comparison_id == storable(comparison_id))

    def comparison_by_key(self, live_id: int, *, caller: str, idempotency_key: str) -> Comparison | None:
        """The comparison of a request that the caller gave this key; None where there is none."""
        row = LiveComparisonRow
        mine = (row.live_id == live_id, row.caller == storable(caller), row.idempotency_key == storable(idempotency_key))
        with self._transaction() as connection:
            return live_comparing.comparison_where(connection, *mine)

    def preferences_of(self, comparison_id: str) -> tuple[Preference, ...]:
        """What was preferred of two answers, with its history, in the order in which it came."""
        with self._transaction() as connection:
            return live_comparing.preferences_of(connection, comparison_id)

    def recent(self, live_id: int, *, limit: int = 100) -> tuple[LiveTrial, ...]:
        """The trials that were logged last, newest first."""
        with self._reading(live_id) as (connection, _experiment):
            rows = connection.execute(_trials().where(LiveTrialRow.live_id == live_id).order_by(LiveTrialRow.id.desc()).limit(limit))
            return tuple(live_trial_of(row, row.name) for row in rows)

    def scores_of(self, trial_id: str) -> tuple[Score, ...]:
        """The scores of a trial, by metric; none where there is no such trial."""
        rows = self._about(LiveScoreRow, trial_id, LiveScoreRow.metric)
        return tuple(map(score_of, rows))

    def votes_of(self, trial_id: str) -> tuple[Vote, ...]:
        """The votes on a trial with their history, in the order in which they came."""
        return tuple(vote_of(row, trial_id) for row in self._about(LiveVoteRow, trial_id, LiveVoteRow.id))

    def signals_of(self, trial_id: str) -> tuple[SignalEvent, ...]:
        """What its user did with a trial, in the order in which it came."""
        return tuple(signal_of(row, trial_id) for row in self._about(LiveSignalRow, trial_id, LiveSignalRow.id))

    def split_scores(self, live_id: int, metric: str, *, experiment: Experiment, until: float | None = None) -> SplitScores:
        """Mode split: both arms' sums of a metric by unit.

        What counted of the same units (pseudonyms) before this experiment's first start, in other live experiments, is the covariate;
        experiments with the same salt are left out of it, for their arms hold the same units. `until` leaves out trials that arrived
        later; their scores and votes may be of any time.

        Raises:
            InputError: There is no such metric, or the experiment has another mode, so that its units are not independent.
        """
        self._require_mode(experiment, "split")
        arms = (experiment.control.name, experiment.treatment.name)
        with self._reading(live_id) as (connection, _experiment):
            history = History(connection, live_id, (metric,))
            return live_sums.split_scores(connection, live_id, _metric(metric), arms=arms, history=history, until=until)

    def within_scores(self, live_id: int, metric: str, *, experiment: Experiment, until: float | None = None) -> WithinScores:
        """Mode shadow: the silent answer minus the served one; mode interleaved: the preference, the only metric it has; by unit.

        `until` as in `split_scores`.

        Raises:
            InputError: There is no such metric, the experiment has mode split, or the metric has no difference within a query.
        """
        self._require_mode(experiment, "shadow", "interleaved")
        found = _metric(metric)
        shadow = experiment.live is not None and experiment.live.mode == "shadow"
        if (metric == "preference") == shadow or (shadow and found.kind == "feedback"):
            raise InputError(
                f"metric {metric!r} has no difference within a query: shadow compares the answers, interleaved has 'preference'"
            )
        with self._reading(live_id) as (connection, _experiment):
            if not shadow:
                return live_sums.within_interleaved(connection, live_id, found, until=until)
            return live_sums.within_shadow(
                connection, live_id, found, arms=(experiment.control.name, experiment.treatment.name), until=until
            )

    def timed(self, live_id: int, metric: str, *, experiment: Experiment, first: bool = False) -> TimedSums | None:
        """A metric's sums by unit and time, as in `split_scores` or `within_scores`; None where no trial counts.

        With `first` all of a unit's stand at the time of its first query.
        """
        arms, mode = (experiment.control.name, experiment.treatment.name), "split" if experiment.live is None else experiment.live.mode
        with self._reading(live_id) as (connection, _experiment):
            return live_looks.timed_sums(connection, live_id, _metric(metric), arms=arms, mode=mode, first=first)

    def times(self, live_id: int) -> live_looks.Times:
        """When trials that count came, and how many of all are stamped long before one logged earlier."""
        with self._reading(live_id) as (connection, _experiment):
            return live_looks.times_of(connection, live_id)

    def exposed_at(self, live_id: int, units: int) -> float | None:
        """When so many units had been exposed; None before that."""
        with self._reading(live_id) as (connection, _experiment):
            return live_looks.exposed_at(connection, live_id, units)

    def exposure(self, live_id: int, *, experiment: Experiment) -> Exposure:
        """Who was exposed to what, and who is left out.

        Arms are those that made the answers: in mode shadow the second column holds the silent answers, and an equal number is expected;
        in mode interleaved everything is in the first one.
        """
        with self._reading(live_id) as (connection, found):
            states = _states(connection, live_id)
            return live_sums.exposure(connection, live_id, states, experiment=experiment, start=found.created_at)

    def votes(self, live_id: int) -> tuple[VoteCounts, ...]:
        """Thumbs on the answers that belong to the analysis, by arm and whether they asked for a rating."""
        with self._reading(live_id) as (connection, _experiment):
            return live_sums.vote_counts(connection, live_id)

    def votes_by_unit(self, live_id: int) -> dict[str, VotesByUnit]:
        """The same by arm and unit."""
        with self._reading(live_id) as (connection, _experiment):
            return live_sums.votes_by_unit(connection, live_id)

    def latencies(self, live_id: int) -> Latencies:
        """By arm: each trial's unit (numbered from 0 within the arm) and waited_ms; trials that failed are left out."""
        with self._reading(live_id) as (connection, _experiment):
            arms = connection.execute(select(LiveTrialRow.arm).where(*live_sums.counted(live_id)).distinct()).scalars().all()
            return live_sums.latencies(connection, live_id, arms=arms)

    def unit_tables(self, live_id: int, metrics: Sequence[str], *, experiment: Experiment) -> UnitTables | None:
        """All of the above that is kept by unit, as of one moment; None where it is not kept, or not up to date enough to be used."""
        with self._reading(live_id) as (connection, found):
            states = _states(connection, live_id)
            return unit_tables(connection, live_id, states, experiment=experiment, start=found.created_at, metrics=metrics)

    def unscored(self, live_id: int, metrics: Sequence[str], *, limit: int) -> tuple[LiveTrial, ...]:
        """Trials without a score (a value, or the reason why there is none) of one of these metrics, oldest first."""
        wanted = tuple(sorted(set(metrics)))
        if not wanted:
            return ()
        scored = (
            select(func.count())
            .where(LiveScoreRow.trial == LiveTrialRow.id, LiveScoreRow.metric.in_(wanted))
            .correlate(LiveTrialRow)
            .scalar_subquery()
        )
        begin = self._settled.get((live_id, wanted), 0)
        mine = (LiveTrialRow.live_id == live_id, LiveTrialRow.id >= begin, scored < len(wanted))
        with self._reading(live_id) as (connection, _experiment):
            rows = connection.execute(_trials().where(*mine).order_by(LiveTrialRow.id).limit(limit)).all()
            first = rows[0].id if rows else connection.execute(select(func.max(LiveTrialRow.id))).scalar() or 0
        # Of several workers on PostgreSQL, one may commit a trial with a lower id later.
        self._settled[live_id, wanted] = max(begin, first - _LOOKED_AT_AGAIN)
        return tuple(live_trial_of(row, row.name) for row in rows)

    def judge_spend(self, live_id: int, *, since: float) -> float | None:
        """What LLM judges cost since a moment, in USD; 0 where none was called, None where no call has a known price."""
        score = LiveScoreRow
        wanted = select(func.count(), func.sum(score.cost_usd)).where(score.live_id == live_id, score.at >= since, score.n_calls > 0)
        with self._reading(live_id) as (connection, _experiment):
            n, spent = connection.execute(wanted).one()
        return 0.0 if not n else None if spent is None else float(spent)

    def outages(self, live_id: int) -> tuple[Outage, ...]:
        """When the log could not be written, oldest first."""
        wanted = select(OutageRow.__table__).where(OutageRow.live_id == live_id).order_by(OutageRow.start_at, OutageRow.id)
        with self._reading(live_id) as (connection, _experiment):
            return tuple(
                Outage(start=row.start_at, end=row.end_at, refused=row.refused, unlogged=row.unlogged, reason=row.reason)
                for row in connection.execute(wanted)
            )

    def audit_log(self, live_id: int | None = None, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """What was done last, newest first: to one experiment, or (None) to anything."""
        wanted = select(AuditRow.__table__).order_by(AuditRow.id.desc()).limit(limit)
        with self._transaction() as connection:
            rows = connection.execute(wanted if live_id is None else wanted.where(AuditRow.live_id == live_id))
            return tuple(
                AuditEntry(live_id=row.live_id, at=row.at, actor=row.actor, action=row.action, subject=row.subject, detail=row.detail)
                for row in rows
            )

    def timeline(self, live_id: int, *, bucket_s: int = 3600) -> tuple[TimelineBucket, ...]:
        """Trials by time and arm, oldest first; stretches without any are left out."""
        trial = LiveTrialRow
        split = func.count(case((trial.reason == "split", 1), else_=null()))
        waited = func.avg(case((trial.failure_stage.is_(None), trial.waited_ms), else_=null()))
        with self._reading(live_id) as (connection, _experiment):
            number = live_sums.bucket(connection, trial.at.expression, bucket_s).label("number")
            counts = select(number, trial.arm, func.count(), split, func.count(trial.failure_stage), waited)
            rows = connection.execute(counts.where(trial.live_id == live_id).group_by(number, trial.arm).order_by(number, trial.arm))
            return tuple(
                TimelineBucket(start=float(place * bucket_s), arm=arm, trials=n, counted=n_split, failed=failed, mean_waited_ms=mean)
                for place, arm, n, n_split, failed, mean in rows
            )

    @contextmanager
    def _reading(self, live_id: int) -> Iterator[tuple[Connection, LiveExperiment]]:
        with self._transaction() as connection:
            found = connection.execute(select(LiveExperimentRow.__table__).where(LiveExperimentRow.id == live_id)).first()
            if found is None:
                raise InputError(f"there is no live experiment {live_id} in database {self._name!r}")
            if connection.dialect.name == "postgresql":
                # Before the first ANALYZE it takes a growing table for a tiny one, and would compare every trial with every score.
                connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
                connection.exec_driver_sql("SET LOCAL enable_partitionwise_join = on; SET LOCAL enable_partitionwise_aggregate = on")
            yield connection, _experiment(found)

    def _about(self, table: type[Any], trial_id: str, order: Any) -> Sequence[Row[Any]]:
        with self._transaction() as connection:
            number = number_of(connection, storable(trial_id))
            return connection.execute(select(table.__table__).where(table.trial == number).order_by(order)).all()

    def _require_mode(self, experiment: Experiment, *modes: str) -> None:
        mode = None if experiment.live is None else experiment.live.mode
        if mode not in modes:
            raise InputError(f"experiment {experiment.name!r} has the mode {mode!r}: these sums are for {' and '.join(modes)}")


def _trials() -> Select[Any]:
    return select(*LiveTrialRow.__table__.columns, LiveExperimentRow.name).join(
        LiveExperimentRow, LiveExperimentRow.id == LiveTrialRow.live_id
    )


def _numbered(connection: Connection, number: int | None) -> LiveTrial | None:
    found = None if number is None else connection.execute(_trials().where(LiveTrialRow.id == number)).first()
    return None if found is None else live_trial_of(found, found.name)


def _states(connection: Connection, live_id: int) -> tuple[TrafficState, ...]:
    wanted = select(TrafficStateRow.__table__).where(TrafficStateRow.live_id == live_id).order_by(TrafficStateRow.version)
    return tuple(map(state_of, connection.execute(wanted)))


def _experiment(row: Row[Any]) -> LiveExperiment:
    return LiveExperiment(
        live_id=row.id, name=row.name, live_digest=row.live_digest, plan=row.plan, facts=row.facts, created_at=row.created_at
    )


def _metric(name: str) -> Metric:
    try:
        return metric_named(name)
    except ValueError as error:
        raise InputError(str(error)) from error
