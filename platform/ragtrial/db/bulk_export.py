"""Reading a log in bulk: live trials with what is said of them day by day, evaluations one by one, in batches of bounded size."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ragtrial.db.live_models import LiveExperimentRow, LiveScoreRow, LiveSignalRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_sums import bucket
from ragtrial.db.models import EvaluationRow, ExperimentRow, HitRow, ScoreRow, TrialRow
from ragtrial.db.reading import ReadOnly
from ragtrial.db.unit_models import RetentionRow

DAY_SECONDS = 86_400
_ROWS_AT_ONCE = 20_000
_ABOUT = {"scores": LiveScoreRow, "votes": LiveVoteRow, "signals": LiveSignalRow}

Batch = dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPlan:
    """A live experiment under one plan: its number, name and the plan's digest."""

    live_id: int
    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvaluation:
    """An evaluation: its id, its experiment's name and plan, and the day (UTC) on which it was started, as `2026-11-22`."""

    evaluation_id: str
    name: str
    digest: str
    day: str


class BulkReader(ReadOnly):
    """Reads logs in bulk. A batch is a column of values for each name.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def plans(self, name: str | None) -> tuple[LoggedPlan, ...]:
        """Live experiments of this name, or all."""
        row = LiveExperimentRow
        wanted = select(row.id, row.name, row.live_digest).order_by(row.id)
        with self._transaction() as connection:
            found = connection.execute(wanted if name is None else wanted.where(row.name == name))
            return tuple(LoggedPlan(live_id=live_id, name=called, digest=digest) for live_id, called, digest in found)

    def days(self, live_id: int) -> tuple[int, ...]:
        """Days since 1970 (UTC) on which trials came."""
        with self._transaction() as connection:
            day = bucket(connection, LiveTrialRow.at.expression, DAY_SECONDS).label("day")
            return tuple(connection.execute(select(day).where(LiveTrialRow.live_id == live_id).distinct().order_by(day)).scalars())

    def kept_from(self, live_id: int) -> float:
        """Since when the log is kept, in seconds since 1970: retention has removed what came before; 0 where it has removed nothing."""
        wanted = select(func.max(RetentionRow.kept_from)).where(RetentionRow.live_id == live_id)
        with self._transaction() as connection:
            return float(connection.execute(wanted).scalar() or 0.0)

    def live_rows(self, live_id: int, table: str, columns: Sequence[str], *, day: int) -> Iterator[Batch]:
        """Trials of a day, or what is said of them (`scores`, `votes`, `signals`), in the order in which they were logged."""
        trial = LiveTrialRow
        mine = (trial.live_id == live_id, trial.at >= day * DAY_SECONDS, trial.at < (day + 1) * DAY_SECONDS)
        if table == "trials":
            wanted: Select[Any] = select(*(getattr(trial, name) for name in columns)).where(*mine).order_by(trial.id)
        else:
            row: Any = _ABOUT[table]
            last = row.metric if table == "scores" else row.id
            shown = [trial.trial_id if name == "trial_id" else getattr(row, name) for name in columns]
            wanted = select(*shown).join(trial, trial.id == row.trial).where(*mine).order_by(row.trial, last)
        yield from self._batches(wanted, columns)

    def evaluations(self, name: str | None) -> tuple[LoggedEvaluation, ...]:
        """Evaluations of experiments of this name, or all."""
        plan, row = ExperimentRow, EvaluationRow
        wanted = select(row.evaluation_id, plan.name, plan.plan_digest, row.started_at).join(plan, plan.id == row.experiment_id)
        wanted = wanted.order_by(row.started_at, row.evaluation_id)
        with self._transaction() as connection:
            found = connection.execute(wanted if name is None else wanted.where(plan.name == name))
            return tuple(
                LoggedEvaluation(evaluation_id=one, name=called, digest=digest, day=at.strftime("%Y-%m-%d"))
                for one, called, digest, at in found
            )

    def offline_rows(self, evaluation_id: str, table: str, columns: Sequence[str]) -> Iterator[Batch]:
        """Trials of an evaluation, or their scores; `hits` as JSON."""
        trial = TrialRow
        if table == "offline_trials":
            shown = [self._hits() if name == "hits" else getattr(trial, name) for name in columns]
            wanted: Select[Any] = select(*shown).where(trial.evaluation_id == evaluation_id).order_by(trial.id)
        else:
            score = ScoreRow
            shown = [getattr(score if hasattr(score, name) and name != "trial_id" else trial, name) for name in columns]
            wanted = select(*shown).join(trial, trial.id == score.trial_id).where(trial.evaluation_id == evaluation_id)
            wanted = wanted.order_by(score.trial_id, score.metric)
        yield from self._batches(wanted, columns)

    @staticmethod
    def _hits() -> Any:
        """The ids of the passages, best first, as one text with a line for each: ids hold no line feed."""
        one = select(HitRow.passage_id).where(HitRow.trial_id == TrialRow.id).order_by(HitRow.rank).correlate(TrialRow).subquery()
        return select(func.aggregate_strings(one.c.passage_id, "\n")).scalar_subquery().label("hits")

    def _batches(self, wanted: Select[Any], columns: Sequence[str]) -> Iterator[Batch]:
        with self._transaction() as connection:
            streamed: Connection = connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE)
            for rows in streamed.execute(wanted).partitions():
                made = zip(*rows, strict=True)
                yield {name: [_plain(value) for value in column] for name, column in zip(columns, made, strict=True)}


def _plain(value: Any) -> Any:
    """JSON columns as text; all others are plain already."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, (list, dict)) else value
