"""The tables behind the dashboard: what is derived from the logs, and what people add on its pages.

Derived; each row can be made again from the logs, so these (and no others) are replaced and removed:

    conclusions           what a finished evaluation came to, as one document
    query_outcomes        a row for each of its queries: what filters and sorts the table of queries
    labelling_queues      what people are asked on each of its judged metrics, as one document
    embedding_maps        its passages and queries on a plane, as an arm's model sees them
    live_buckets          live trials and votes by stretches of time and arm
    live_snapshots        what a live experiment has come to, as one document
    roll_up_marks         how far the log of a live experiment has been rolled up

Added by people; only ever added to:

    live_comparisons      two answers to one query shown beside each other, in a random order
        └── live_preferences   which one was preferred; the last one counts
    curations             queries and pairs that people chose for the gold set or for training
    members               who may look, by the name that a login provider knows them under; the newest row of a name counts
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ragtrial.db.base import LARGEST, LONG, Base


class ConclusionRow(Base):
    """What an evaluation came to; `problem` says why there is no document.

    `form` is the version of the document's form: one of another version is made again. `generation` says which of the query outcomes and
    labelling queues belong to it; those of another one are about to be shown, or about to go.
    """

    __tablename__ = "conclusions"
    __table_args__ = (CheckConstraint("(document IS NULL) = (problem IS NOT NULL)", name="document_or_problem"),)

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), primary_key=True)
    form: Mapped[int]
    made_at: Mapped[float]
    generation: Mapped[int | None]
    document: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]


class QueryOutcomeRow(Base):
    """One query of an evaluation: how both arms did, so that tables of queries need no scores.

    `gain` is the treatment's primary score minus the control's, turned so that more is better; `answer_gain` likewise of the headline
    answer metric. NULL is what could not be measured in both arms.
    """

    __tablename__ = "query_outcomes"
    __table_args__ = (
        CheckConstraint(f"gain BETWEEN -{LARGEST} AND {LARGEST}", name="gain"),
        CheckConstraint(f"answer_gain BETWEEN -{LARGEST} AND {LARGEST}", name="answer_gain"),
        CheckConstraint("overlap BETWEEN 0 AND 1", name="overlap"),
        Index("ix_query_outcomes_by_gain", "evaluation_id", "generation", "gain", "position"),
        Index("ix_query_outcomes_by_answer_gain", "evaluation_id", "generation", "answer_gain", "position"),
        {"sqlite_with_rowid": False},
    )

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    query_id: Mapped[str]
    words: Mapped[int]
    baseline: Mapped[float | None]
    custom: Mapped[float | None]
    gain: Mapped[float | None]
    baseline_answer: Mapped[float | None]
    custom_answer: Mapped[float | None]
    answer_gain: Mapped[float | None]
    relevant: Mapped[int]
    baseline_found: Mapped[int]
    custom_found: Mapped[int]
    overlap: Mapped[float | None]
    unjudged: Mapped[int]
    failed: Mapped[int]


class LabellingQueueRow(Base):
    """What people are asked on a judged metric of an evaluation, and what the judge gave all its queries; of the conclusion's form.

    `document` is JSON, compressed by zlib.
    """

    __tablename__ = "labelling_queues"

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[bytes]


class EmbeddingMapRow(Base):
    """Where an arm's model puts the passages and queries of an evaluation, on a plane."""

    __tablename__ = "embedding_maps"

    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.evaluation_id"), primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    form: Mapped[int]
    made_at: Mapped[float]
    document: Mapped[dict[str, Any]]


class LiveBucketRow(Base):
    """Live trials that arrived in one stretch of time (`BUCKET_SECONDS`), made by one arm for one reason.

    `*_ms` are sums over the `timed` trials that did not fail; `cost_usd` and tokens are sums over `priced` and `counted_tokens` trials.
    Votes are those that count now, on answers of these trials.
    """

    __tablename__ = "live_buckets"
    __table_args__ = ({"sqlite_with_rowid": False},)

    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    arm: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    trials: Mapped[int]
    served: Mapped[int]
    failed: Mapped[int]
    abstained: Mapped[int]
    answered: Mapped[int]
    timed: Mapped[int]
    waited_ms: Mapped[float]
    embed_ms: Mapped[float]
    search_ms: Mapped[float]
    generate_ms: Mapped[float]
    priced: Mapped[int]
    cost_usd: Mapped[float]
    counted_tokens: Mapped[int]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    up: Mapped[int]
    down: Mapped[int]
    withdrawn: Mapped[int]


class LiveSnapshotRow(Base):
    """What a live experiment had come to at a moment; `problem` says why there is no document.

    It is made again when the roll-up has another `version`, when what it depends on `beside` trials and votes has another digest, and when
    `due_at` is over.
    """

    __tablename__ = "live_snapshots"
    __table_args__ = (CheckConstraint("(document IS NULL) = (problem IS NOT NULL)", name="document_or_problem"),)

    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), primary_key=True, autoincrement=False)
    form: Mapped[int]
    made_at: Mapped[float]
    took_s: Mapped[float]
    version: Mapped[int]
    beside: Mapped[str | None]
    due_at: Mapped[float | None]
    document: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]


class RollUpMarkRow(Base):
    """Up to which trial and vote a live experiment's buckets hold everything; `version` counts the times that anything was new."""

    __tablename__ = "roll_up_marks"

    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), primary_key=True, autoincrement=False)
    trial: Mapped[int] = mapped_column(LONG)
    vote: Mapped[int] = mapped_column(LONG)
    erasure: Mapped[int]
    version: Mapped[int]
    at: Mapped[float]


class LiveComparisonRow(Base):
    """Two answers to one query, one of each arm, shown beside each other; which arm stands left was drawn at random.

    Both trials are in the log with the reason `override`: they are in no analysis of the split.
    """

    __tablename__ = "live_comparisons"
    __table_args__ = (UniqueConstraint("live_id", "caller", "idempotency_key"),)

    comparison_id: Mapped[str] = mapped_column(primary_key=True)
    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), index=True)
    left_trial: Mapped[int] = mapped_column(LONG, ForeignKey("live_trials.id"), index=True)
    right_trial: Mapped[int] = mapped_column(LONG, ForeignKey("live_trials.id"), index=True)
    left_arm: Mapped[str]
    unit: Mapped[str | None] = mapped_column(index=True)
    caller: Mapped[str]
    idempotency_key: Mapped[str | None]
    at: Mapped[float]


class LivePreferenceRow(Base):
    """Which of two answers somebody preferred. The last one by `id` counts."""

    __tablename__ = "live_preferences"
    __table_args__ = (
        UniqueConstraint("comparison_id", "key"),
        CheckConstraint("choice IN ('left', 'right', 'both', 'neither', 'withdrawn')", name="choice"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    comparison_id: Mapped[str] = mapped_column(ForeignKey("live_comparisons.comparison_id"))
    key: Mapped[str]
    choice: Mapped[str]
    comment: Mapped[str]
    at: Mapped[float]


class CurationRow(Base):
    """A query with a passage that somebody chose: a judgment for the gold set, or a pair for training, with where it came from.

    `takes_back` names the row that this one takes back; such a row repeats what it takes back.
    """

    __tablename__ = "curations"
    __table_args__ = (
        CheckConstraint("kind IN ('judgment', 'pair', 'hard negative')", name="kind"),
        CheckConstraint("(kind = 'judgment') = (grade IS NOT NULL)", name="grade"),
        CheckConstraint("(evaluation_id IS NULL) <> (trial_id IS NULL)", name="provenance"),
        Index("ix_curations_experiment", "experiment", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    experiment: Mapped[str]
    kind: Mapped[str]
    query_text: Mapped[str]
    query_id: Mapped[str | None]
    passage_id: Mapped[str]
    passage_text: Mapped[str]
    grade: Mapped[int | None]
    evaluation_id: Mapped[str | None] = mapped_column(ForeignKey("evaluations.evaluation_id"))
    trial_id: Mapped[str | None]
    actor: Mapped[str]
    note: Mapped[str]
    takes_back: Mapped[int | None] = mapped_column(ForeignKey("curations.id"))
    created_at: Mapped[datetime]


class MemberRow(Base):
    """Somebody who may look; `role` is NULL where that was taken back. The newest row of a name counts."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'tester', 'operator', 'admin')", name="role"),
        Index("ix_members_name", "name", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str | None]
    actor: Mapped[str]
    at: Mapped[float]
