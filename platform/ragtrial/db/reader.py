"""The only way out of the SQL log: read-only, and in domain types."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Select, and_, func, select

from ragtrial.db.base import Base
from ragtrial.db.models import (
    EvaluationRow,
    EventRow,
    ExperimentRow,
    HitRow,
    JudgmentRow,
    LabelRow,
    OpinionRow,
    PassageRow,
    QueryRow,
    ScoreRow,
    TrialRow,
)
from ragtrial.db.reading import ReadOnly
from ragtrial.db.rows import failure_of, timings_of, usage_of
from ragtrial.db.score_tables import Order, read_score_tables
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.label import Label
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.score import LoggedOpinion, Opinion, Score, ScoreTable
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.errors import InputError

TrialKey = tuple[str, str, int]

_ARMS = TypeAdapter(tuple[ArmFacts, ...])
_PARITY = TypeAdapter(ParityCertificate)
_IDS_AT_ONCE = 5_000  # bound parameters of one statement: SQLite takes 32,766


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became of an evaluation.

    Attributes:
        kind: `started`, `resumed` or `finished`.
        at: ISO 8601, UTC.
        payload: What was recorded with it; empty where nothing was.
    """

    kind: str
    at: str
    payload: dict[str, Any]


class Reader(ReadOnly):
    """Reads the database; sees what was committed when each call begins, also while a recorder writes.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL. Methods that take an evaluation's id raise it where there is none.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def evaluations(self, experiment: str | None = None) -> tuple[Evaluation, ...]:
        """All evaluations, of one experiment where it is named; in the order in which they were started."""
        wanted = _evaluations() if experiment is None else _evaluations().where(ExperimentRow.name == experiment)
        with self._transaction() as connection:
            return tuple(map(_evaluation, connection.execute(wanted)))

    def find(self, config_digest: str, finished: bool | None = None) -> Evaluation | None:
        """The latest evaluation with this digest, or None; `finished` leaves only those that are, or are not."""
        with self._transaction() as connection:
            found = [_evaluation(row) for row in connection.execute(_evaluations().where(EvaluationRow.config_digest == config_digest))]
        return next((e for e in reversed(found) if finished is None or finished == (e.finished_at is not None)), None)

    def evaluation(self, evaluation_id: str) -> Evaluation:
        """The evaluation of this id."""
        with self._reading(evaluation_id) as connection:
            return _evaluation(connection.execute(_evaluations().where(EvaluationRow.evaluation_id == evaluation_id)).one())

    def events(self, evaluation_id: str) -> tuple[Event, ...]:
        """What became of the evaluation, in order."""
        wanted = select(EventRow.kind, EventRow.at, EventRow.payload).where(EventRow.evaluation_id == evaluation_id).order_by(EventRow.id)
        with self._reading(evaluation_id) as connection:
            return tuple(Event(kind=kind, at=at.isoformat(), payload=payload) for kind, at, payload in connection.execute(wanted))

    def n_trials_planned(self, evaluation_id: str) -> int:
        """Trials that the evaluation has when it is complete."""
        with self._reading(evaluation_id) as connection:
            wanted = select(EvaluationRow.n_trials_planned).where(EvaluationRow.evaluation_id == evaluation_id)
            return connection.execute(wanted).scalar_one()

    def experiment_plan(self, evaluation_id: str) -> dict[str, Any]:
        """The experiment as it was planned, with the stores and the training of this evaluation; as `Experiment` reads it."""
        wanted = (
            select(ExperimentRow.plan, EvaluationRow.setup)
            .join(ExperimentRow, ExperimentRow.id == EvaluationRow.experiment_id)
            .where(EvaluationRow.evaluation_id == evaluation_id)
        )
        with self._reading(evaluation_id) as connection:
            plan, setup = connection.execute(wanted).one()
        return {**plan, **setup}

    def gold(self, evaluation_id: str, query_ids: Collection[str] | None = None) -> GoldSet:
        """The queries that were asked, in order, with their judgments on passages (best grade first); at most 5,000 of them if asked."""
        asked = [QueryRow.evaluation_id == evaluation_id, *([] if query_ids is None else [QueryRow.query_id.in_(set(query_ids))])]
        queries = select(QueryRow).where(*asked).order_by(QueryRow.position)
        judgments = (
            select(JudgmentRow.query_id, JudgmentRow.passage_id, JudgmentRow.grade)
            .join(QueryRow, and_(QueryRow.evaluation_id == JudgmentRow.evaluation_id, QueryRow.query_id == JudgmentRow.query_id))
            .where(JudgmentRow.evaluation_id == evaluation_id, *asked)
            .order_by(QueryRow.position, JudgmentRow.grade.desc(), JudgmentRow.passage_id)
        )
        with self._reading(evaluation_id) as connection:
            name = connection.execute(select(EvaluationRow.gold_name).where(EvaluationRow.evaluation_id == evaluation_id)).scalar_one()
            return GoldSet(
                name=name,
                queries=tuple(
                    Query(query_id=row.query_id, text=row.text, answers=tuple(row.answers), tags=row.tags, cluster=row.cluster)
                    for row in connection.execute(queries)
                ),
                judgments=tuple(
                    Judgment(query_id=query_id, target_id=passage_id, grade=grade)
                    for query_id, passage_id, grade in connection.execute(judgments)
                ),
            )

    def done(self, evaluation_id: str) -> set[TrialKey]:
        """(arm, query id, repetition) of every trial that is recorded."""
        wanted = select(TrialRow.arm, TrialRow.query_id, TrialRow.repetition).where(TrialRow.evaluation_id == evaluation_id)
        with self._reading(evaluation_id) as connection:
            return {(arm, query_id, repetition) for arm, query_id, repetition in connection.execute(wanted)}

    def trials(self, evaluation_id: str, arm: str | None = None, query_ids: Collection[str] | None = None) -> tuple[Trial, ...]:
        """Trials with their hits, by the query's place, then the arm's, then repetition; of one arm or some queries if asked."""
        wanted = set(query_ids) if query_ids is not None else None
        chosen = [TrialRow.evaluation_id == evaluation_id]
        if arm is not None:
            chosen.append(TrialRow.arm == arm)
        if wanted is not None and len(wanted) <= _IDS_AT_ONCE:
            chosen.append(TrialRow.query_id.in_(wanted))
        hits_wanted = (
            select(HitRow.trial_id, HitRow.passage_id, HitRow.similarity)
            .join(TrialRow, TrialRow.id == HitRow.trial_id)
            .where(*chosen)
            .order_by(HitRow.trial_id, HitRow.rank)
        )
        hits: defaultdict[int, list[Hit]] = defaultdict(list)
        with self._reading(evaluation_id) as connection:
            order = Order.of(connection, evaluation_id, wanted if wanted is not None and len(wanted) <= _IDS_AT_ONCE else None)
            rows = [row for row in connection.execute(select(TrialRow).where(*chosen)) if wanted is None or row.query_id in wanted]
            for trial_id, passage_id, similarity in connection.execute(hits_wanted):
                hits[trial_id].append(Hit(passage_id=passage_id, similarity=similarity))
        rows.sort(key=lambda row: (order.queries[row.query_id], order.arm(row.arm), row.repetition))
        return tuple(_trial(row, tuple(hits[row.id])) for row in rows)

    def opinions(
        self, evaluation_id: str, metrics: Sequence[str] | None = None, query_ids: Collection[str] | None = None
    ) -> tuple[LoggedOpinion, ...]:
        """What LLM judges said, ordered as `trials`, then by metric and repetition; of some metrics or at most 5,000 queries if asked."""
        wanted: Select[Any] = (
            select(*OpinionRow.__table__.columns, TrialRow.arm, TrialRow.query_id, TrialRow.repetition.label("trial_repetition"))
            .join(TrialRow, TrialRow.id == OpinionRow.trial_id)
            .where(TrialRow.evaluation_id == evaluation_id)
        )
        if metrics is not None:
            wanted = wanted.where(OpinionRow.metric.in_(metrics))
        if query_ids is not None:
            wanted = wanted.where(TrialRow.query_id.in_(query_ids))
        with self._reading(evaluation_id) as connection:
            order = Order.of(connection, evaluation_id, query_ids)
            found = [_opinion(row) for row in connection.execute(wanted)]
        return tuple(
            sorted(
                found,
                key=lambda o: (order.queries[o.query_id], order.arm(o.arm), o.trial_repetition, o.metric, o.opinion.repetition),
            )
        )

    def labels(self, experiment: str, *, history: bool = False) -> tuple[Label, ...]:
        """What people said of answers in all evaluations of an experiment, in the order in which they said it.

        Args:
            experiment: Its name.
            history: Also what a labeller has said otherwise since; without it only the last label of each labeller. A volunteered one
                does not take the place of one that was drawn, or the drawn ones would no longer be a random sample.
        """
        wanted = (
            select(*LabelRow.__table__.columns)
            .join(EvaluationRow, EvaluationRow.evaluation_id == LabelRow.evaluation_id)
            .join(ExperimentRow, ExperimentRow.id == EvaluationRow.experiment_id)
            .where(ExperimentRow.name == experiment)
            .order_by(LabelRow.id)
        )
        with self._transaction() as connection:
            found = [_label(row) for row in connection.execute(wanted)]
        if history:
            return tuple(found)
        last: dict[tuple[object, ...], Label] = {}
        for label in found:
            key = (label.evaluation_id, *label.trial, label.metric, label.labeller, label.selection)
            last.pop(key, None)
            last[key] = label
        return tuple(last.values())

    def scorers(self, evaluation_id: str) -> dict[str, str]:
        """Name and version of what scored each metric."""
        wanted = (
            select(ScoreRow.metric, func.max(ScoreRow.scorer))
            .join(TrialRow, TrialRow.id == ScoreRow.trial_id)
            .where(TrialRow.evaluation_id == evaluation_id)
            .group_by(ScoreRow.metric)
        )
        with self._reading(evaluation_id) as connection:
            return {row[0]: row[1] for row in connection.execute(wanted)}

    def scores(self, evaluation_id: str, metrics: Sequence[str] | None = None) -> dict[str, ScoreTable]:
        """A table for each metric, rows ordered as `trials`; a trial without a score of the metric has no row.

        Args:
            evaluation_id: The evaluation.
            metrics: Names, each of which gets a table (with no rows where nothing was recorded); default: all recorded, by name.

        Raises:
            InputError: A metric's name is unknown.
        """
        with self._reading(evaluation_id) as connection:
            return read_score_tables(connection, evaluation_id, metrics)

    def scores_of(self, evaluation_id: str, query_id: str) -> dict[TrialKey, tuple[Score, ...]]:
        """The scores of one query's trials, without opinions, by metric; a trial that has none is missing."""
        wanted = (
            select(TrialRow.arm, TrialRow.repetition, ScoreRow.metric, ScoreRow.value, ScoreRow.unscored, ScoreRow.scorer)
            .join(ScoreRow, ScoreRow.trial_id == TrialRow.id)
            .where(TrialRow.evaluation_id == evaluation_id, TrialRow.query_id == query_id)
            .order_by(ScoreRow.metric)
        )
        found: defaultdict[TrialKey, list[Score]] = defaultdict(list)
        with self._reading(evaluation_id) as connection:
            for arm, repetition, metric, value, unscored, scorer in connection.execute(wanted):
                found[arm, query_id, repetition].append(Score(metric=metric, value=value, unscored=unscored, scorer=scorer))
        return {trial: tuple(scores) for trial, scores in found.items()}

    def passages(self, evaluation_id: str, ids: Collection[str]) -> dict[str, Passage]:
        """The texts that were kept of these passages, by id; those that were never retrieved or judged are missing."""
        wanted = sorted(set(ids))
        found: dict[str, Passage] = {}
        with self._reading(evaluation_id) as connection:
            corpus = select(EvaluationRow.corpus_fingerprint).where(EvaluationRow.evaluation_id == evaluation_id).scalar_subquery()
            for begin in range(0, len(wanted), _IDS_AT_ONCE):
                some = wanted[begin : begin + _IDS_AT_ONCE]
                query = select(PassageRow).where(PassageRow.corpus_fingerprint == corpus, PassageRow.passage_id.in_(some))
                for row in connection.execute(query):
                    found[row.passage_id] = _passage(row)
        return found

    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        with self._transaction() as connection:
            tables = Base.metadata.sorted_tables
            return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables}

    @contextmanager
    def _reading(self, evaluation_id: str) -> Iterator[Connection]:
        with self._transaction() as connection:
            known = select(EvaluationRow.evaluation_id).where(EvaluationRow.evaluation_id == evaluation_id)
            if connection.execute(known).first() is None:
                raise InputError(f"there is no evaluation {evaluation_id!r} in database {self._name!r}")
            yield connection


def _evaluations() -> Select[Any]:
    mine = EventRow.evaluation_id == EvaluationRow.evaluation_id
    started = select(func.min(EventRow.id)).where(mine).scalar_subquery()
    finished = select(func.max(EventRow.at)).where(mine, EventRow.kind == "finished").scalar_subquery()
    return (
        select(*EvaluationRow.__table__.columns, ExperimentRow.name, ExperimentRow.plan_digest, finished.label("finished_at"))
        .join(ExperimentRow, ExperimentRow.id == EvaluationRow.experiment_id)
        .order_by(started)
    )


def _evaluation(row: Row[Any]) -> Evaluation:
    finished: datetime | None = row.finished_at
    return Evaluation(
        evaluation_id=row.evaluation_id,
        experiment=row.name,
        plan_digest=row.plan_digest,
        config_digest=row.config_digest,
        corpus_fingerprint=row.corpus_fingerprint,
        gold_fingerprint=row.gold_fingerprint,
        n_queries=row.n_queries,
        arms=_ARMS.validate_python(row.arms),
        parity=_PARITY.validate_python(row.parity),
        started_at=row.started_at.isoformat(),
        finished_at=None if finished is None else finished.isoformat(),
        environment=row.environment,
        checks={name: (state, detail) for name, (state, detail) in row.checks.items()},
    )


def _passage(row: Row[Any]) -> Passage:
    return Passage(
        passage_id=row.passage_id,
        document_id=row.document_id,
        title=row.title,
        text=row.text,
        start=row.start_offset,
        end=row.end_offset,
    )


def _trial(row: Row[Any], hits: tuple[Hit, ...]) -> Trial:
    return Trial(
        arm=row.arm,
        query_id=row.query_id,
        repetition=row.repetition,
        ranking=None if row.n_hits is None else Ranking(query_id=row.query_id, hits=hits),
        answer=None if row.answer_text is None else _answer(row),
        failure=failure_of(row),
        timings=timings_of(row),
        answer_shared=row.answer_shared,
    )


def _opinion(row: Row[Any]) -> LoggedOpinion:
    return LoggedOpinion(
        arm=row.arm,
        query_id=row.query_id,
        trial_repetition=row.trial_repetition,
        metric=row.metric,
        opinion=Opinion(
            repetition=row.repetition,
            key=row.key,
            value=row.value,
            unscored=row.unscored,
            verdict=row.verdict,
            rationale=row.rationale,
            n_calls=row.n_calls,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            cost_usd=row.cost_usd,
        ),
    )


def _label(row: Row[Any]) -> Label:
    return Label(
        evaluation_id=row.evaluation_id,
        arm=row.arm,
        query_id=row.query_id,
        repetition=row.repetition,
        metric=row.metric,
        word=row.word,
        value=row.value,
        scorer=row.scorer,
        selection=row.selection,
        probability=row.probability,
        labeller=row.labeller,
        note=row.note,
    )


def _answer(row: Row[Any]) -> Answer:
    return Answer(
        text=row.answer_text,
        cited=tuple(row.cited),
        finish_reason=row.finish_reason,
        generator=row.generator,
        usage=usage_of(row),
        generate_ms=row.answer_ms,
    )
