"""The tables of live experiments. Rows are only ever added; erasing on request is the one exception (`live_erasing`).

    live_experiments                        a plan; another plan under the same name is another row
        ├── traffic_states                  what held of the traffic, a version for each change
        ├── live_outages                    when the log could not be written
        ├── erasures                        how many trials were erased, by arm; not whose
        └── live_trials                     one row joins assignment, ranking, answer, timings, tokens and cost
                ├── live_scores             a number or a reason, once for each metric
                ├── live_votes              history kept; the last one on a target counts
                └── live_signals
    audit_log                               what operators did
    api_keys                                digests, never keys

On PostgreSQL trials, scores, votes and signals are partitioned by the trial's number (`partitions`), and their unique keys that don't hold
it are in `live_trial_keys` (`trial_keys`); a vote's and a signal's primary key has the trial beside the id.

Moments are seconds since 1970, so that both databases can group by hour and day alike. Columns stand with numbers first: SQLite reads
them without the long texts behind them.
"""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ragtrial.db.base import LARGEST, LONG, Base


class LiveExperimentRow(Base):
    """A plan that was served; `facts` is what was known when it was first served."""

    __tablename__ = "live_experiments"
    __table_args__ = (UniqueConstraint("name", "live_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    live_digest: Mapped[str]
    plan: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class TrafficStateRow(Base):
    """What held of the traffic from `at` on."""

    __tablename__ = "traffic_states"
    __table_args__ = (
        CheckConstraint("share BETWEEN 0 AND 1", name="share"),
        CheckConstraint("treatment > 0 AND treatment < 1", name="treatment"),
    )

    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    share: Mapped[float]
    treatment: Mapped[float]
    stopped: Mapped[bool]
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[float]


class LiveTrialRow(Base):
    """One live query through one arm. `arm` made it, `assigned_arm` was served to the unit.

    `citation_credit` (mode interleaved) is the number of cited passages of the treatment's team minus those of the control's.
    Where `texts_erased_at` is set, query and answer had texts that were erased; `finish_reason` still says that there was an answer.
    """

    __tablename__ = "live_trials"
    __table_args__ = (
        UniqueConstraint("trial_id"),
        UniqueConstraint("live_id", "caller", "idempotency_key", "served"),
        CheckConstraint("reason IN ('split', 'override', 'no unit', 'outside', 'holdout', 'denied', 'stopped', 'fallback')", name="reason"),
        CheckConstraint("reason <> 'split' OR (unit IS NOT NULL AND bucket IS NOT NULL AND propensity IS NOT NULL)", name="split"),
        CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity"),
        CheckConstraint("served = (trial_id = request_id)", name="served"),
        CheckConstraint("n_hits IS NOT NULL OR failure_stage IS NOT NULL", name="ranking_or_failure"),
        CheckConstraint("(n_hits IS NULL) = (hits IS NULL)", name="hits"),
        CheckConstraint("finish_reason IS NULL OR failure_stage IS NULL", name="answer_or_failure"),
        CheckConstraint(
            "(answer_text IS NULL) = (finish_reason IS NULL) OR (answer_text IS NULL AND texts_erased_at IS NOT NULL)", name="answer"
        ),
        CheckConstraint("(query_stored = 'hash') = (query_text IS NULL)", name="query"),
        CheckConstraint(f"waited_ms BETWEEN 0 AND {LARGEST}", name="waited"),
        CheckConstraint(f"cost_usd BETWEEN 0 AND {LARGEST}", name="cost"),
        CheckConstraint(
            f"embed_ms BETWEEN 0 AND {LARGEST} AND search_ms BETWEEN 0 AND {LARGEST} AND generate_ms BETWEEN 0 AND {LARGEST}",
            name="timings",
        ),
        Index("ix_live_trials_in_order", "live_id", "id"),
        Index("ix_live_trials_in_time", "live_id", "at"),
        Index(  # in the order of units, and with all that sums need: a sum by unit reads no row and sorts nothing
            "ix_live_trials_by_unit",
            *("live_id", "reason", "unit", "request_id", "arm", "served", "version", "at", "solicited", "waited_ms"),
            *("embed_ms", "search_ms", "generate_ms", "failure_stage", "finish_reason"),
            *("cost_usd", "prompt_tokens", "completion_tokens", "citation_credit", "id"),
        ),
        {"sqlite_autoincrement": True},  # an id is never given twice, also after erasing
    )

    id: Mapped[int] = mapped_column(LONG, primary_key=True)
    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"))
    trial_id: Mapped[str]
    request_id: Mapped[str]
    served: Mapped[bool]
    unit: Mapped[str | None]
    arm: Mapped[str]
    assigned_arm: Mapped[str]
    reason: Mapped[str]
    bucket: Mapped[int | None]
    propensity: Mapped[float | None]
    version: Mapped[int]
    at: Mapped[float]
    waited_ms: Mapped[float]
    embed_ms: Mapped[float | None]
    search_ms: Mapped[float | None]
    generate_ms: Mapped[float | None]
    answer_ms: Mapped[float | None]
    answer_made_at: Mapped[float | None]
    prompt_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cost_usd: Mapped[float | None]
    n_hits: Mapped[int | None]
    citation_credit: Mapped[int | None]
    answer_shared: Mapped[bool]
    solicited: Mapped[bool]
    texts_erased_at: Mapped[float | None]
    finish_reason: Mapped[str | None]
    generator: Mapped[str | None]
    failure_stage: Mapped[str | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    caller: Mapped[str]
    idempotency_key: Mapped[str | None]
    query_digest: Mapped[str]
    query_stored: Mapped[str]
    gold_query_id: Mapped[str | None]
    query_text: Mapped[str | None]
    hits: Mapped[list[Any] | None]
    cited: Mapped[list[Any] | None]
    teams: Mapped[dict[str, Any] | None]
    answer_text: Mapped[str | None]
    rerank_ms: Mapped[float | None]


class LiveScoreRow(Base):
    """A number, or the reason why there is none (law 1); a skipped score has its reason too, so that it is not tried again."""

    __tablename__ = "live_scores"
    __table_args__ = (
        CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name="value_or_reason"),
        CheckConstraint(f"value BETWEEN -{LARGEST} AND {LARGEST}", name="finite"),
        CheckConstraint("unscored <> ''", name="reason"),
        CheckConstraint(f"cost_usd BETWEEN 0 AND {LARGEST}", name="cost"),
        Index("ix_live_scores_by_metric", "live_id", "metric", "trial", "value", "unscored"),
        Index(
            "ix_live_scores_judged",
            *("live_id", "at", "n_calls", "cost_usd"),
            sqlite_where=text("n_calls > 0"),
            postgresql_where=text("n_calls > 0"),
        ),
        {"sqlite_with_rowid": False},
    )

    trial: Mapped[int] = mapped_column(LONG, ForeignKey("live_trials.id"), primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(primary_key=True)
    live_id: Mapped[int]
    value: Mapped[float | None]
    unscored: Mapped[str | None]
    scorer: Mapped[str]
    n_calls: Mapped[int]
    cost_usd: Mapped[float | None]
    at: Mapped[float]
    opinions: Mapped[list[Any] | None]


class LiveVoteRow(Base):
    """What a user said. `team` is the passage's (mode interleaved). The last one by `id` that is not late counts."""

    __tablename__ = "live_votes"
    __table_args__ = (
        UniqueConstraint("trial", "key"),
        CheckConstraint("thumb IN ('up', 'down', 'withdrawn')", name="thumb"),
        CheckConstraint("team IN ('control', 'treatment', 'both')", name="team"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(LONG, primary_key=True)
    live_id: Mapped[int]
    trial: Mapped[int] = mapped_column(LONG, ForeignKey("live_trials.id"))
    key: Mapped[str]
    thumb: Mapped[str]
    passage_id: Mapped[str | None]
    team: Mapped[str | None]
    late: Mapped[bool]
    at: Mapped[float]
    tags: Mapped[list[Any]]
    comment: Mapped[str]


class LiveSignalRow(Base):
    """What a user did with an answer."""

    __tablename__ = "live_signals"
    __table_args__ = (
        UniqueConstraint("trial", "key"),
        CheckConstraint("signal IN ('copied', 'rephrased', 'citation_clicked')", name="signal"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(LONG, primary_key=True)
    live_id: Mapped[int]
    trial: Mapped[int] = mapped_column(LONG, ForeignKey("live_trials.id"))
    key: Mapped[str]
    signal: Mapped[str]
    passage_id: Mapped[str | None]
    late: Mapped[bool]
    at: Mapped[float]


class OutageRow(Base):
    """A time in which the log could not be written."""

    __tablename__ = "live_outages"

    id: Mapped[int] = mapped_column(primary_key=True)
    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), index=True)
    start_at: Mapped[float]
    end_at: Mapped[float]
    refused: Mapped[int]
    unlogged: Mapped[int]
    reason: Mapped[str]


class ErasureRow(Base):
    """Trials that were erased at once, of one experiment, arm and reason of assignment; whose they were is not kept."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(primary_key=True)
    live_id: Mapped[int] = mapped_column(ForeignKey("live_experiments.id"), index=True)
    arm: Mapped[str]
    reason: Mapped[str]
    trials: Mapped[int]
    at: Mapped[float]


class AuditRow(Base):
    """Something that somebody did; `live_id` is NULL where it belongs to no experiment (keys)."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True)
    live_id: Mapped[int | None] = mapped_column(ForeignKey("live_experiments.id"), index=True)
    at: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]


class ApiKeyRow(Base):
    """A key of the live service: `digest` is the HMAC-SHA256 of its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'tester', 'operator', 'admin')", name="role"),
        CheckConstraint("rate_per_minute > 0", name="rate"),
    )

    prefix: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    digest: Mapped[str]
    may_assert_user: Mapped[bool]
    rate_per_minute: Mapped[int | None]
    limited_to: Mapped[list[Any] | None]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]
