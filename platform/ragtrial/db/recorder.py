"""The only writer of the SQL log. It adds rows and never changes or removes one."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Insert, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.models import (
    ArmRow,
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
from ragtrial.db.rows import Row, Scored, opinion_rows, rows_of
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.label import Label
from ragtrial.errors import InputError, StoreError


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class Recorder:
    """Writes evaluations as they go; each call is one transaction, durable when it returns.

    Several recorders may write to one database (they take turns), but only one to an evaluation: a trial that is there
    already is refused, with its whole batch.

    Args:
        url: SQLAlchemy URL; the schema is brought up to date.
        clock: The time of events and trials.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The database can't be opened, made or upgraded. Every method raises it where the database refuses.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        schema.upgrade(url)
        self._name = database.shown(database.parse_url(url))
        self._engine = database.open_engine(url)
        self._clock = clock
        # Hits and scores are 25 rows a trial and need no conversion: as tuples they take half the time of SQLAlchemy's parameters.
        self._insert_hits = str(insert(HitRow).compile(dialect=self._engine.dialect))
        self._insert_scores = str(insert(ScoreRow).compile(dialect=self._engine.dialect))
        self._corpora: dict[str, str] = {}  # the evaluations that this recorder opened, with their corpus
        self._stored: dict[str, set[str]] = {}  # passages known to be there, by corpus

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def open_evaluation(
        self, evaluation: Evaluation, *, experiment: Experiment, gold: GoldSet, n_trials_planned: int, passages: Sequence[Passage] = ()
    ) -> None:
        """Record that an evaluation starts, with all that a report needs to know of it.

        Args:
            evaluation: As known at the start; `finished_at` is None.
            experiment: Its plan; stored once for each name and digest.
            gold: Exactly the queries that are asked, with their judgments on passages.
            n_trials_planned: Trials that a complete evaluation has.
            passages: Texts to keep (those judged); others come with `append`.

        Raises:
            ValueError: The evaluation doesn't belong to this experiment or these queries, or a judgment is on a span.
            StoreError: There is an evaluation of this id.
        """
        _check_belonging(evaluation, experiment, gold)
        row = _evaluation_row(evaluation, experiment, gold, n_trials_planned)
        with self._transaction() as connection:
            if _corpus_of(connection, evaluation.evaluation_id) is not None:
                there = f"evaluation {evaluation.evaluation_id!r} is already in database {self._name!r}"
                raise StoreError(f"{there}: resume it, or take a new id")
            row["experiment_id"] = self._experiment_id(connection, experiment, evaluation.plan_digest)
            connection.execute(insert(EvaluationRow), row)
            connection.execute(insert(QueryRow), _query_rows(evaluation.evaluation_id, gold))
            judgments = _judgment_rows(evaluation.evaluation_id, gold)
            if judgments:
                connection.execute(insert(JudgmentRow), judgments)
            new = self._add_passages(connection, evaluation.corpus_fingerprint, passages)
            _add_event(connection, evaluation.evaluation_id, "started", row["started_at"], {})
        self._opened(evaluation.evaluation_id, evaluation.corpus_fingerprint, new)

    def resume(self, evaluation_id: str) -> None:
        """Record that an interrupted evaluation goes on; `Reader.done` says which trials it has.

        Raises:
            InputError: There is no such evaluation, or it is finished.
        """
        with self._transaction() as connection:
            corpus = self._unfinished(connection, evaluation_id)
            _add_event(connection, evaluation_id, "resumed", self._clock(), {})
        self._opened(evaluation_id, corpus, set())

    def append(self, evaluation_id: str, batch: Sequence[Scored], passages: Sequence[Passage] = ()) -> None:
        """Record trials with their hits and scores, and the texts of their passages: all of them or none.

        Args:
            evaluation_id: Opened or resumed by this recorder.
            batch: Trials that are not recorded yet, each with its scores; at most one score for each metric. May be empty.
            passages: Of the evaluation's corpus; those that are there already are left alone.

        Raises:
            ValueError: The evaluation was not opened or resumed by this recorder.
            StoreError: A trial is recorded already, a query is not of this evaluation, or a row breaks a rule of its
                table; nothing of the batch was written then.
        """
        if evaluation_id not in self._corpora:
            raise ValueError(f"evaluation {evaluation_id!r} is not open in this recorder: open or resume it first")
        corpus = self._corpora[evaluation_id]
        try:
            with self._transaction() as connection:
                new = self._add_passages(connection, corpus, passages)
                first = (connection.execute(select(func.max(TrialRow.id))).scalar() or 0) + 1
                trials, hits, scores = rows_of(evaluation_id, batch, first, self._clock())
                if trials:
                    connection.execute(insert(TrialRow), trials)
                if hits:
                    connection.exec_driver_sql(self._insert_hits, hits)
                if scores:
                    connection.exec_driver_sql(self._insert_scores, scores)
                opinions = opinion_rows(batch, first)
                if opinions:
                    connection.execute(insert(OpinionRow), opinions)
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                self._explain_refusal(evaluation_id, batch, error)
            raise
        self._stored[corpus] |= new

    def finish(self, evaluation_id: str, payload: Mapping[str, Any] | None = None) -> None:
        """Record that the evaluation is complete; nothing can be appended to it afterwards.

        Args:
            evaluation_id: An unfinished evaluation.
            payload: What else is worth keeping of its end; JSON.

        Raises:
            InputError: There is no such evaluation, or it is finished.
        """
        with self._transaction() as connection:
            self._unfinished(connection, evaluation_id)
            _add_event(connection, evaluation_id, "finished", self._clock(), dict(payload or {}))
        self._corpora.pop(evaluation_id, None)

    def add_labels(self, labels: Sequence[Label]) -> None:
        """Record what people said: all of it or nothing. Earlier labels stay; of one labeller the last one counts.

        Args:
            labels: Of recorded trials of any evaluation, finished or not. May be empty.

        Raises:
            StoreError: There is no such trial, or a row breaks a rule of its table; nothing was written then.
        """
        now = self._clock()
        with self._transaction() as connection:
            if labels:
                connection.execute(insert(LabelRow), [{**dataclasses.asdict(label), "created_at": now} for label in labels])

    def _transaction(self) -> AbstractContextManager[Connection]:
        return database.transaction(self._engine, self._name)

    def _opened(self, evaluation_id: str, corpus: str, stored: set[str]) -> None:
        self._corpora[evaluation_id] = corpus
        self._stored[corpus] = self._stored.get(corpus, set()) | stored

    def _unfinished(self, connection: Connection, evaluation_id: str) -> str:
        corpus = _corpus_of(connection, evaluation_id)
        if corpus is None:
            raise InputError(f"there is no evaluation {evaluation_id!r} in database {self._name!r}")
        finished = select(EventRow.at).where(EventRow.evaluation_id == evaluation_id, EventRow.kind == "finished")
        at = connection.execute(finished).scalar()
        if at is not None:
            raise InputError(f"evaluation {evaluation_id!r} was finished at {at.isoformat()}: start a new one")
        return corpus

    def _experiment_id(self, connection: Connection, experiment: Experiment, plan_digest: str) -> int:
        known = select(ExperimentRow.id).where(ExperimentRow.name == experiment.name, ExperimentRow.plan_digest == plan_digest)
        found = connection.execute(known).scalar()
        if found is not None:
            return found
        plan = {key: value for key, value in dataclasses.asdict(experiment).items() if key not in ("stores", "training", "llm", "live")}
        row = {
            "name": experiment.name,
            "plan_digest": plan_digest,
            "hypothesis": experiment.hypothesis,
            "plan": plan,
            "created_at": self._clock(),
        }
        made: int = connection.execute(insert(ExperimentRow).returning(ExperimentRow.id), row).scalar_one()
        arms = [{"experiment_id": made, "name": arm.name, "role": arm.role, "spec": dataclasses.asdict(arm)} for arm in experiment.arms]
        connection.execute(insert(ArmRow), arms)
        return made

    def _add_passages(self, connection: Connection, corpus: str, passages: Sequence[Passage]) -> set[str]:
        stored = self._stored.get(corpus, set())
        new = {passage.passage_id: passage for passage in passages if passage.passage_id not in stored}
        if new:
            rows = [
                {
                    "corpus_fingerprint": corpus,
                    "passage_id": passage.passage_id,
                    "document_id": passage.document_id,
                    "title": passage.title,
                    "text": passage.text,
                    "start_offset": passage.start,
                    "end_offset": passage.end,
                }
                for passage in new.values()
            ]
            connection.execute(_insert_new_passages(connection), rows)
        return set(new)

    def _explain_refusal(self, evaluation_id: str, batch: Sequence[Scored], error: StoreError) -> None:
        keys = Counter((trial.arm, trial.query_id, trial.repetition) for trial, _scores in batch)
        with self._transaction() as connection:
            there = select(TrialRow.arm, TrialRow.query_id, TrialRow.repetition).where(TrialRow.evaluation_id == evaluation_id)
            recorded = {(arm, query_id, repetition) for arm, query_id, repetition in connection.execute(there)}
        for (arm, query_id, repetition), count in keys.items():
            what = f"trial of query {query_id!r} in arm {arm!r}, repetition {repetition}, of evaluation {evaluation_id!r}"
            if (arm, query_id, repetition) in recorded:
                raise StoreError(
                    f"{what} is already recorded in {self._name!r}; nothing of this batch of {len(batch)} was written. Another process "
                    "seems to work on the same evaluation: let only one go on, and resume it"
                ) from error
            if count > 1:
                raise StoreError(f"{what} stands {count} times in one batch; nothing of it was written") from error


def _check_belonging(evaluation: Evaluation, experiment: Experiment, gold: GoldSet) -> None:
    if (evaluation.experiment, evaluation.plan_digest) != (experiment.name, experiment.plan_digest()):
        raise ValueError(
            f"evaluation {evaluation.evaluation_id!r} is of plan {evaluation.experiment!r} {evaluation.plan_digest}, "
            f"not of {experiment.name!r} {experiment.plan_digest()}"
        )
    if evaluation.n_queries != len(gold.queries):
        asked = f"evaluation {evaluation.evaluation_id!r} asks {evaluation.n_queries} queries"
        raise ValueError(f"{asked}, but the gold set given has {len(gold.queries)}")
    span = next((judgment for judgment in gold.judgments if judgment.start is not None), None)
    if span is not None:
        raise ValueError(f"gold set {gold.name!r} judges a span of {span.target_id!r}: resolve its judgments to passages first")


def _corpus_of(connection: Connection, evaluation_id: str) -> str | None:
    return connection.execute(select(EvaluationRow.corpus_fingerprint).where(EvaluationRow.evaluation_id == evaluation_id)).scalar()


def _add_event(connection: Connection, evaluation_id: str, kind: str, at: datetime, payload: Row) -> None:
    connection.execute(insert(EventRow), {"evaluation_id": evaluation_id, "kind": kind, "at": at, "payload": payload})


def _insert_new_passages(connection: Connection) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(PassageRow).on_conflict_do_nothing()
    return postgresql.insert(PassageRow).on_conflict_do_nothing()


def _evaluation_row(evaluation: Evaluation, experiment: Experiment, gold: GoldSet, n_trials_planned: int) -> Row:
    whole = dataclasses.asdict(experiment)
    stores = whole["stores"] | {"sql": database.without_password(experiment.stores.sql)}
    return {
        "evaluation_id": evaluation.evaluation_id,
        "config_digest": evaluation.config_digest,
        "corpus_fingerprint": evaluation.corpus_fingerprint,
        "gold_name": gold.name,
        "gold_fingerprint": evaluation.gold_fingerprint,
        "n_queries": evaluation.n_queries,
        "n_trials_planned": n_trials_planned,
        "setup": {"stores": stores, "training": whole["training"], "llm": whole["llm"]},
        "arms": [dataclasses.asdict(arm) for arm in evaluation.arms],
        "parity": dataclasses.asdict(evaluation.parity),
        "environment": dict(evaluation.environment),
        "checks": dict(evaluation.checks),
        "started_at": datetime.fromisoformat(evaluation.started_at),
    }


def _query_rows(evaluation_id: str, gold: GoldSet) -> list[Row]:
    return [
        {
            "evaluation_id": evaluation_id,
            "position": position,
            "query_id": query.query_id,
            "text": query.text,
            "cluster": query.cluster,
            "tags": dict(query.tags),
            "answers": list(query.answers),
        }
        for position, query in enumerate(gold.queries)
    ]


def _judgment_rows(evaluation_id: str, gold: GoldSet) -> list[Row]:
    return [
        {"evaluation_id": evaluation_id, "query_id": query_id, "passage_id": passage_id, "grade": grade}
        for query_id, grades in gold.qrels().items()
        for passage_id, grade in grades.items()
    ]
