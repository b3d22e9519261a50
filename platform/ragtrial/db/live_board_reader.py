"""What the dashboard reads of live experiments: roll-ups and snapshots that were made before, and pages of trials found by index."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from sqlalchemy import ColumnElement, Connection, Integer, Subquery, and_, case, exists, func, literal_column, null, select
from sqlalchemy.orm import aliased

from ragtrial.db.board_models import LiveBucketRow, LiveComparisonRow, LivePreferenceRow, LiveSnapshotRow, RollUpMarkRow
from ragtrial.db.live_drift import drift_sample
from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_news import Beside, beside
from ragtrial.db.live_pages import BUCKET_SECONDS, TrialPage, TrialRow, TrialView, trial_page
from ragtrial.db.live_sums import bucket, counted, table_of, units_in_both
from ragtrial.db.live_values import values_of
from ragtrial.db.monitoring import Standing, newest_alerts, standing_alerts
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.live import Mode
from ragtrial.domain.live_drift import DriftSample
from ragtrial.domain.live_scores import Sums
from ragtrial.domain.metric import metric_named
from ragtrial.domain.monitor import Alert

__all__ = [
    "BUCKET_SECONDS",
    "LiveBoardReader",
    "LiveBucket",
    "PreferenceCount",
    "SnapshotMade",
    "StoredSnapshot",
    "TrialPage",
    "TrialRow",
    "TrialView",
]

_Column = ColumnElement[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotMade:
    """When a live experiment was last analysed.

    Attributes:
        form: Version of the document's form.
        made_at: Seconds since 1970.
        took_s: How long that took.
        version: Of the sums that it was made from, see `RolledUp.version`.
        beside: Digest of what it depends on beside trials and votes, see `Beside`; None where that is not known.
        due_at: When it says something else though nothing is new, in seconds since 1970; None: never.
        problem: Why there is no document, or None.
    """

    form: int
    made_at: float
    took_s: float
    version: int
    beside: str | None = None
    due_at: float | None = None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot(SnapshotMade):
    """What a live experiment had come to when it was last analysed.

    Attributes:
        document: JSON; None where there is a problem.
    """

    document: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBucket:
    """Trials of one arm and one reason of assignment that arrived in one stretch of time, as rolled up last.

    Attributes:
        start: Of the stretch, seconds since 1970.
        arm: The arm that made them.
        reason: Of the assignment; `split` is what the analysis counts.
        trials: All of them.
        served: Of them, those that their requests count as; silent twins are not.
        failed: Of `trials`.
        abstained: Of `answered`.
        answered: Those with an answer, abstentions included.
        timed: Those that did not fail and have timings.
        waited_ms: Summed over `timed`, and so are the other timings.
        embed_ms: Likewise.
        search_ms: Likewise.
        generate_ms: Likewise.
        priced: Those whose cost is known.
        cost_usd: Summed over `priced`.
        counted_tokens: Those whose tokens are known.
        prompt_tokens: Summed over `counted_tokens`.
        completion_tokens: Likewise.
        up: Answers whose last vote is a thumb up.
        down: Likewise down.
        withdrawn: Answers whose last vote was taken back.
    """

    start: float
    arm: str
    reason: str
    trials: int
    served: int
    failed: int
    abstained: int
    answered: int
    timed: int
    waited_ms: float
    embed_ms: float
    search_ms: float
    generate_ms: float
    priced: int
    cost_usd: float
    counted_tokens: int
    prompt_tokens: int
    completion_tokens: int
    up: int
    down: int
    withdrawn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceCount:
    """Comparisons side by side that came out in one way.

    Attributes:
        choice: `preferred` an arm, `both` are good, `neither` is, `withdrawn`, or `open`: nobody has chosen yet.
        arm: The arm that was preferred; None for other choices.
        comparisons: How many.
    """

    choice: Literal["preferred", "both", "neither", "withdrawn", "open"]
    arm: str | None
    comparisons: int


class LiveBoardReader(ReadOnly):
    """Reads what was rolled up of live experiments. Of one that is not there, or not rolled up yet, there is nothing: nothing is raised.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def snapshot(self, live_id: int) -> StoredSnapshot | None:
        """What the experiment had come to when it was last analysed; None before the first time."""
        row = LiveSnapshotRow
        with self._transaction() as connection:
            found = connection.execute(select(row.__table__).where(row.live_id == live_id)).first()
        if found is None:
            return None
        return StoredSnapshot(document=found.document, **{name: getattr(found, name) for name in _MADE})

    def snapshots_made(self) -> dict[int, SnapshotMade]:
        """When each experiment was last analysed, by its number; those that never were are left out."""
        row = LiveSnapshotRow
        wanted = select(row.live_id, *(getattr(row, name) for name in _MADE))
        with self._transaction() as connection:
            return {live_id: SnapshotMade(**dict(zip(_MADE, made, strict=True))) for live_id, *made in connection.execute(wanted)}

    def rolled_up_at(self, live_id: int) -> float | None:
        """When the roll-up was last known to be up to date, in seconds since 1970; None before the first time."""
        with self._transaction() as connection:
            found = connection.execute(select(RollUpMarkRow.at).where(RollUpMarkRow.live_id == live_id)).scalar()
        return None if found is None else float(found)

    def buckets(
        self, live_id: int, *, width_s: int = BUCKET_SECONDS, begin: float | None = None, end: float | None = None
    ) -> tuple[LiveBucket, ...]:
        """Trials by time, arm and reason, oldest first; stretches without any are left out.

        Args:
            live_id: The experiment.
            width_s: Width of a stretch: a multiple of `BUCKET_SECONDS`. Stretches begin at multiples of it since 1970.
            begin: Leave out stretches that end before it.
            end: Leave out stretches that begin at or after it.

        Raises:
            ValueError: The width is no multiple.
        """
        if width_s < BUCKET_SECONDS or width_s % BUCKET_SECONDS:
            raise ValueError(f"'width_s' is {width_s}: give a multiple of {BUCKET_SECONDS}")
        row, times = LiveBucketRow, width_s // BUCKET_SECONDS
        number = (row.number // literal_column(str(times), Integer)).label("place")
        mine: list[_Column] = [row.live_id == live_id]
        if begin is not None:
            mine.append(row.number >= int(begin // width_s) * times)
        if end is not None:
            mine.append(row.number < -int(-end // width_s) * times)
        sums = [func.sum(getattr(row, name)).label(name) for name in _SUMMED]
        keys = (number, row.arm, row.reason)
        wanted = select(*keys, *sums).where(*mine).group_by(*keys).order_by(*keys)
        with self._transaction() as connection:
            return tuple(
                LiveBucket(start=float(place * width_s), arm=arm, reason=reason, **dict(zip(_SUMMED, values, strict=True)))
                for place, arm, reason, *values in connection.execute(wanted)
            )

    def trials(self, live_id: int, *, view: TrialView = "latest", limit: int = 50, before: int | None = None) -> TrialPage:
        """Trials of one kind, newest first; in a log of a million trials as fast as in a small one.

        Args:
            live_id: The experiment.
            view: `latest`: all of them. `thumbs down`: whose answer's last vote is a thumb down. `failures`, `abstained`: what the name
                says. `not scored`: a planned metric has a reason in the place of a value. `commented`: somebody wrote a comment.
            limit: Rows at most.
            before: Only trials behind this one: `TrialPage.next` of the page before.
        """
        with self._transaction() as connection:
            return trial_page(connection, live_id, view, limit=limit, before=before)

    def preferences(self, live_id: int) -> tuple[PreferenceCount, ...]:
        """How comparisons side by side came out, by the last choice on each: the arms that were preferred, then the other choices."""
        chosen = _last_choices(live_id)
        with self._transaction() as connection:
            rows = connection.execute(select(chosen.c.outcome, chosen.c.arm, func.count()).group_by(chosen.c.outcome, chosen.c.arm)).all()
        found = [PreferenceCount(choice=choice, arm=arm, comparisons=n) for choice, arm, n in rows]
        return tuple(sorted(found, key=lambda count: (_CHOICES.index(count.choice), count.arm or "")))

    def preferred_by_person(self, live_id: int, *, arms: tuple[str, str]) -> Sums:
        """How often each person preferred each of the arms, shape (n_people, 2); those who preferred none are left out.

        People who are not told apart are the API key that they came with.
        """
        chosen = _last_choices(live_id)
        key = case((chosen.c.unit.is_(None), chosen.c.caller), else_=null())
        columns = [func.count(case((chosen.c.arm == arm, 1), else_=null())) for arm in arms]
        wanted = select(*columns).where(chosen.c.arm.in_(arms)).group_by(chosen.c.unit, key).order_by(chosen.c.unit, key)
        with self._transaction() as connection:
            return table_of(connection, wanted, width=2)[0]

    def stage_times(self, live_id: int, *, mode: Mode) -> dict[str, Sums]:
        """By arm the milliseconds of embedding, search, reranking (0: there is none), generation and waiting of each trial, shape (n_trials, 5).

        Of trials that belong to the analysis, did not fail, and were timed. Nobody waits for a silent twin, so in mode shadow the last
        column is the sum of the others, in both arms.
        """
        trial = LiveTrialRow
        reranked = func.coalesce(trial.rerank_ms, 0.0)
        stages = (trial.embed_ms, trial.search_ms - reranked, reranked, trial.generate_ms)
        total: _Column = trial.embed_ms + trial.search_ms + trial.generate_ms if mode == "shadow" else trial.waited_ms.expression
        mine = [*counted(live_id), trial.failure_stage.is_(None), trial.embed_ms.is_not(None)]
        with self._summing() as connection:
            if mode == "split" and connection.execute(units_in_both(live_id).limit(1)).first() is not None:
                mine.append(trial.unit.not_in(units_in_both(live_id)))
            arms = connection.execute(select(trial.arm).where(*counted(live_id)).distinct()).scalars().all()
            return {arm: table_of(connection, select(*stages, total).where(*mine, trial.arm == arm), width=5)[0] for arm in sorted(arms)}

    def twin_sums(self, live_id: int, metric: str, *, arms: tuple[str, str], begin: float, ends: Sums) -> Sums:
        """Mode shadow: sums of both arms over the queries that both have a value for, and their number, until the end of each step.

        Args:
            live_id: The experiment.
            metric: What is summed.
            arms: Control and treatment.
            begin: When the first step begins.
            ends: When each ends, equally long ones but for the last, as `LiveReader.timed` has them; shape (n_steps,).

        Returns:
            Shape (n_steps, 3).
        """
        width = float(ends[0]) - begin if ends.size > 1 else 1.0
        values = values_of(metric_named(metric), [live_id], *counted(live_id)[1:], made=True)
        sides = [func.max(case((values.c.arm == name, values.c.value), else_=null())).label(f"side{n}") for n, name in enumerate(arms)]
        pairs = select(func.min(values.c.at).label("at"), *sides).group_by(values.c.unit, values.c.request_id).subquery("pairs")
        both = (pairs.c.side0.is_not(None), pairs.c.side1.is_not(None))
        with self._summing() as connection:
            step = bucket(connection, pairs.c.at - literal_column(repr(begin)), width)
            wanted = select(step, func.sum(pairs.c.side0), func.sum(pairs.c.side1), func.count()).where(*both).group_by(step)
            rows = table_of(connection, wanted, width=4)[0]
        steps = np.zeros((ends.size, 3))
        np.add.at(steps, np.clip(rows[:, 0].astype(np.int64), 0, ends.size - 1), rows[:, 1:])
        return np.cumsum(steps, axis=0)

    def drift_sample(self, live_id: int, *, arms: tuple[str, ...], n_trials: int) -> DriftSample:
        """Some of the trials that count, evenly drawn, with what drift is told from.

        Args:
            live_id: The experiment.
            arms: Which arms' trials are wanted.
            n_trials: How many count, as rolled up last.
        """
        with self._transaction() as connection:
            return drift_sample(connection, live_id, arms=arms, n_trials=n_trials)

    def beside(self, live_id: int, *, metrics: Sequence[str], before: Beside | None = None) -> Beside:
        """What an analysis depends on beside trials and votes; given the one `before`, it is found sooner."""
        with self._transaction() as connection:
            return beside(connection, live_id, metrics, before)

    def monitor_alerts(self, experiment: str, *, limit: int = 50) -> tuple[Alert, ...]:
        """What the drift monitor raised and cleared last, newest first."""
        with self._transaction() as connection:
            return newest_alerts(connection, experiment, limit=limit)

    def standing_alerts(self, experiment: str) -> tuple[Standing, ...]:
        """Those of the drift monitor that were raised and not cleared since, of all series, oldest first."""
        with self._transaction() as connection:
            return standing_alerts(connection, experiment)

    @contextmanager
    def _summing(self) -> Iterator[Connection]:
        with self._transaction() as connection:
            if connection.dialect.name == "postgresql":
                # Before the first ANALYZE it takes a growing table for a tiny one, and would compare every trial with every score.
                connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
            yield connection


def _last_choices(live_id: int) -> Subquery:
    """One row for each comparison: outcome, the arm that was preferred or NULL, unit and caller."""
    shown, chosen, later, right = LiveComparisonRow, LivePreferenceRow, aliased(LivePreferenceRow), LiveTrialRow
    counts = and_(
        chosen.comparison_id == shown.comparison_id, ~exists().where(later.comparison_id == chosen.comparison_id, later.id > chosen.id)
    )
    outcome = case((chosen.choice.in_(("left", "right")), "preferred"), (chosen.choice.is_(None), "open"), else_=chosen.choice)
    arm = case((chosen.choice == "left", shown.left_arm), (chosen.choice == "right", right.arm), else_=null())
    wanted: Any = (
        select(outcome.label("outcome"), arm.label("arm"), shown.unit, shown.caller)
        .select_from(shown.__table__.join(right.__table__, right.id == shown.right_trial).outerjoin(chosen.__table__, counts))
        .where(shown.live_id == live_id)
    )
    found: Subquery = wanted.subquery("chosen")
    return found


_CHOICES = ("preferred", "both", "neither", "withdrawn", "open")
_MADE = tuple(field.name for field in fields(SnapshotMade))
_KEYS = ("live_id", "number", "arm", "reason")
_SUMMED = tuple(column.name for column in LiveBucketRow.__table__.columns if column.name not in _KEYS)
