"""The tables. Rows are only ever added: what changes (an evaluation's state) is a row of its own.

    experiments ── arms
        └── evaluations ── evaluation_events
                ├── evaluation_queries      what was asked, so that a report needs nothing but this database
                ├── judgments               what was known to be right
                └── trials ── hits
                        ├── scores ── opinions     what LLM judges said, where a score is a mean of that
                        └── labels                 what people said of the answer; the last one of a labeller counts
    passages                                by corpus: texts that were retrieved or judged

Live traffic has tables of its own: `live_models`; so have the dashboard, `board_models`, and the drift monitor, `monitor_models`.

A change here needs a migration in `migrations/versions/`, and its revision in `schema.REVISIONS`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import ragtrial.db.board_models  # whoever knows these tables knows those: they are one schema
import ragtrial.db.live_models
import ragtrial.db.monitor_models
import ragtrial.db.unit_models  # noqa: F401
from ragtrial.db.base import LARGEST, Base


class ExperimentRow(Base):
    """A plan; another plan under the same name is another row.

    `plan` holds what the digest covers: everything of the experiment but its stores and training.
    """

    __tablename__ = "experiments"
    __table_args__ = (UniqueConstraint("name", "plan_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    plan_digest: Mapped[str]
    hypothesis: Mapped[str]
    plan: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ArmRow(Base):
    """A configuration under test, as planned."""

    __tablename__ = "arms"

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    spec: Mapped[dict[str, Any]]


class EvaluationRow(Base):
    """One run of an experiment; `setup` holds the stores and the training of this run, without passwords."""

    __tablename__ = "evaluations"

    evaluation_id: Mapped[str] = mapped_column(primary_key=True)
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"), index=True)
    config_digest: Mapped[str] = mapped_column(index=True)
    corpus_fingerprint: Mapped[str]
    gold_name: Mapped[str]
    gold_fingerprint: Mapped[str]
    n_queries: Mapped[int]
    n_trials_planned: Mapped[int]
    setup: Mapped[dict[str, Any]]
    arms: Mapped[list[Any]]
    parity: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    checks: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]


class EventRow(Base):
    """What became of an evaluation, in the order of `id`."""

    __tablename__ = "evaluation_events"
    __table_args__ = (CheckConstraint("kind IN ('started', 'resumed', 'finished')", name="kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), index=True)
    kind: Mapped[str]
    at: Mapped[datetime]
    payload: Mapped[dict[str, Any]]


class QueryRow(Base):
    """A query as it was asked; `position` is its place in the gold set, from 0."""

    __tablename__ = "evaluation_queries"
    __table_args__ = (UniqueConstraint("evaluation_id", "query_id"),)

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    query_id: Mapped[str]
    text: Mapped[str]
    cluster: Mapped[str | None]
    tags: Mapped[dict[str, Any]]
    answers: Mapped[list[Any]]


class JudgmentRow(Base):
    """A graded judgment as it was resolved to a passage."""

    __tablename__ = "judgments"
    __table_args__ = (
        ForeignKeyConstraint(["evaluation_id", "query_id"], ["evaluation_queries.evaluation_id", "evaluation_queries.query_id"]),
        CheckConstraint("grade >= 0", name="grade"),
        {"sqlite_with_rowid": False},
    )

    evaluation_id: Mapped[str] = mapped_column(primary_key=True)
    query_id: Mapped[str] = mapped_column(primary_key=True)
    passage_id: Mapped[str] = mapped_column(primary_key=True)
    grade: Mapped[int]


class PassageRow(Base):
    """The text of a passage that was retrieved or judged."""

    __tablename__ = "passages"

    corpus_fingerprint: Mapped[str] = mapped_column(primary_key=True)
    passage_id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str]
    title: Mapped[str]
    text: Mapped[str]
    start_offset: Mapped[int]
    end_offset: Mapped[int]


class TrialRow(Base):
    """One query through one arm once. `n_hits` is NULL where there is no ranking; 0 is a search that found nothing.

    `generate_ms` belongs to a query timed alone; `answer_ms` is what the generator itself measured, where it did.
    `rerank_ms` is the part of `search_ms` that reranking took, NULL where nothing was reranked.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("evaluation_id", "arm", "query_id", "repetition"),
        ForeignKeyConstraint(["evaluation_id", "query_id"], ["evaluation_queries.evaluation_id", "evaluation_queries.query_id"]),
        CheckConstraint("n_hits IS NOT NULL OR failure_stage IS NOT NULL", name="ranking_or_failure"),
        CheckConstraint("answer_text IS NULL OR failure_stage IS NULL", name="answer_or_failure"),
        CheckConstraint("(answer_text IS NULL) = (finish_reason IS NULL)", name="answer"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    evaluation_id: Mapped[str]
    arm: Mapped[str]
    query_id: Mapped[str]
    repetition: Mapped[int]
    n_hits: Mapped[int | None]
    answer_text: Mapped[str | None]
    finish_reason: Mapped[str | None]
    generator: Mapped[str | None]
    cited: Mapped[list[Any] | None]
    answer_shared: Mapped[bool]
    failure_stage: Mapped[str | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    embed_ms: Mapped[float | None]
    search_ms: Mapped[float | None]
    generate_ms: Mapped[float | None]
    prompt_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cost_usd: Mapped[float | None]
    answer_ms: Mapped[float | None]
    created_at: Mapped[datetime]
    rerank_ms: Mapped[float | None]


class HitRow(Base):
    """One retrieved passage; `rank` from 1."""

    __tablename__ = "hits"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    passage_id: Mapped[str]
    similarity: Mapped[float]


class ScoreRow(Base):
    """A number, or the reason why there is none (law 1); SQLite turns NaN into NULL, which then lacks its reason."""

    __tablename__ = "scores"
    __table_args__ = (
        CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name="value_or_reason"),
        CheckConstraint(f"value BETWEEN -{LARGEST} AND {LARGEST}", name="finite"),
        CheckConstraint("unscored <> ''", name="reason"),
        {"sqlite_with_rowid": False},
    )

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    unscored: Mapped[str | None]
    scorer: Mapped[str]


class OpinionRow(Base):
    """What an LLM judge said of a trial, once; the score of the same trial and metric is their mean."""

    __tablename__ = "opinions"
    __table_args__ = (
        CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name="value_or_reason"),
        CheckConstraint(f"value BETWEEN -{LARGEST} AND {LARGEST}", name="finite"),
        CheckConstraint("unscored <> ''", name="reason"),
        ForeignKeyConstraint(["trial_id", "metric"], ["scores.trial_id", "scores.metric"]),
        {"sqlite_with_rowid": False},
    )

    trial_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(primary_key=True)
    repetition: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str]
    value: Mapped[float | None]
    unscored: Mapped[str | None]
    verdict: Mapped[str | None]
    rationale: Mapped[str]
    n_calls: Mapped[int]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cost_usd: Mapped[float | None]


class LabelRow(Base):
    """What a person said of a trial's answer; another opinion of the same person is another row, and the last one counts.

    `scorer` is the judge that had scored the answer by then: the label calibrates no other one.
    """

    __tablename__ = "labels"
    __table_args__ = (
        ForeignKeyConstraint(
            ["evaluation_id", "arm", "query_id", "repetition"],
            ["trials.evaluation_id", "trials.arm", "trials.query_id", "trials.repetition"],
        ),
        CheckConstraint(f"value BETWEEN -{LARGEST} AND {LARGEST}", name="finite"),
        CheckConstraint("selection IN ('random', 'volunteered')", name="selection"),
        CheckConstraint("probability > 0 AND probability <= 1", name="probability"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[str] = mapped_column(index=True)
    arm: Mapped[str]
    query_id: Mapped[str]
    repetition: Mapped[int]
    metric: Mapped[str]
    word: Mapped[str]
    value: Mapped[float]
    scorer: Mapped[str]
    selection: Mapped[str]
    probability: Mapped[float | None]
    labeller: Mapped[str]
    note: Mapped[str]
    created_at: Mapped[datetime]
