"""Live experiments: their traffic, trials, scores, votes and signals; audit log, erasures and API keys.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LARGEST = "1.7976931348623157e308"


def upgrade() -> None:
    """Make the tables."""
    _experiments()
    _operations()
    _trials()
    _feedback()


def _experiments() -> None:
    op.create_table(
        "live_experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("live_digest", sa.String(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("name", "live_digest", name=op.f("uq_live_experiments_name_live_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_experiments")),
    )
    op.create_table(
        "traffic_states",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("treatment", sa.Double(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("live_id", "version", name=op.f("pk_traffic_states")),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_traffic_states_live_id")),
        sa.CheckConstraint("share BETWEEN 0 AND 1", name=op.f("ck_traffic_states_share")),
        sa.CheckConstraint("treatment > 0 AND treatment < 1", name=op.f("ck_traffic_states_treatment")),
    )


def _operations() -> None:
    op.create_table(
        "live_outages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("start_at", sa.Double(), nullable=False),
        sa.Column("end_at", sa.Double(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("unlogged", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_outages")),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_outages_live_id")),
    )
    op.create_index("ix_live_outages_live_id", "live_outages", ["live_id"])
    op.create_table(
        "erasures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_erasures_live_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_live_id", "erasures", ["live_id"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_audit_log_live_id")),
    )
    op.create_index("ix_audit_log_live_id", "audit_log", ["live_id"])
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("may_assert_user", sa.Boolean(), nullable=False),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("limited_to", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'tester', 'operator', 'admin')", name=op.f("ck_api_keys_role")),
        sa.CheckConstraint("rate_per_minute > 0", name=op.f("ck_api_keys_rate")),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_keys")),
    )


def _trials() -> None:
    op.create_table(
        "live_trials",
        *_trial_columns(),
        *_trial_rules(),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_live_trials_in_order", "live_trials", ["live_id", "id"])
    op.create_index(
        "ix_live_trials_by_unit",
        "live_trials",
        [
            "live_id",
            "reason",
            "unit",
            "request_id",
            "arm",
            "served",
            "version",
            "at",
            "solicited",
            "waited_ms",
            "embed_ms",
            "search_ms",
            "generate_ms",
            "failure_stage",
            "finish_reason",
            "cost_usd",
            "prompt_tokens",
            "completion_tokens",
            "citation_credit",
            "id",
        ],
    )


def _trial_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("served", sa.Boolean(), nullable=False),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("assigned_arm", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=True),
        sa.Column("propensity", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("waited_ms", sa.Double(), nullable=False),
        sa.Column("embed_ms", sa.Double(), nullable=True),
        sa.Column("search_ms", sa.Double(), nullable=True),
        sa.Column("generate_ms", sa.Double(), nullable=True),
        sa.Column("answer_ms", sa.Double(), nullable=True),
        sa.Column("answer_made_at", sa.Double(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("cached_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("n_hits", sa.Integer(), nullable=True),
        sa.Column("citation_credit", sa.Integer(), nullable=True),
        sa.Column("answer_shared", sa.Boolean(), nullable=False),
        sa.Column("solicited", sa.Boolean(), nullable=False),
        sa.Column("texts_erased_at", sa.Double(), nullable=True),
        sa.Column("finish_reason", sa.String(), nullable=True),
        sa.Column("generator", sa.String(), nullable=True),
        sa.Column("failure_stage", sa.String(), nullable=True),
        sa.Column("failure_kind", sa.String(), nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("query_digest", sa.String(), nullable=False),
        sa.Column("query_stored", sa.String(), nullable=False),
        sa.Column("gold_query_id", sa.String(), nullable=True),
        sa.Column("query_text", sa.String(), nullable=True),
        sa.Column("hits", sa.JSON(), nullable=True),
        sa.Column("cited", sa.JSON(), nullable=True),
        sa.Column("teams", sa.JSON(), nullable=True),
        sa.Column("answer_text", sa.String(), nullable=True),
    ]


def _trial_rules() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint("propensity > 0 AND propensity <= 1", name=op.f("ck_live_trials_propensity")),
        sa.UniqueConstraint(
            "live_id", "caller", "idempotency_key", "served", name=op.f("uq_live_trials_live_id_caller_idempotency_key_served")
        ),
        sa.CheckConstraint(
            "reason <> 'split' OR (unit IS NOT NULL AND bucket IS NOT NULL AND propensity IS NOT NULL)", name=op.f("ck_live_trials_split")
        ),
        sa.CheckConstraint("n_hits IS NOT NULL OR failure_stage IS NOT NULL", name=op.f("ck_live_trials_ranking_or_failure")),
        sa.CheckConstraint("(query_stored = 'hash') = (query_text IS NULL)", name=op.f("ck_live_trials_query")),
        sa.CheckConstraint(f"cost_usd BETWEEN 0 AND {_LARGEST}", name=op.f("ck_live_trials_cost")),
        sa.CheckConstraint(
            "(answer_text IS NULL) = (finish_reason IS NULL) OR (answer_text IS NULL AND texts_erased_at IS NOT NULL)",
            name=op.f("ck_live_trials_answer"),
        ),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_trials_live_id")),
        sa.UniqueConstraint("trial_id", name=op.f("uq_live_trials_trial_id")),
        sa.CheckConstraint("(n_hits IS NULL) = (hits IS NULL)", name=op.f("ck_live_trials_hits")),
        sa.CheckConstraint(f"waited_ms BETWEEN 0 AND {_LARGEST}", name=op.f("ck_live_trials_waited")),
        sa.CheckConstraint(
            "reason IN ('split', 'override', 'no unit', 'outside', 'holdout', 'denied', 'stopped', 'fallback')",
            name=op.f("ck_live_trials_reason"),
        ),
        sa.CheckConstraint("finish_reason IS NULL OR failure_stage IS NULL", name=op.f("ck_live_trials_answer_or_failure")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_trials")),
        sa.CheckConstraint(
            f"embed_ms BETWEEN 0 AND {_LARGEST} AND search_ms BETWEEN 0 AND {_LARGEST} AND generate_ms BETWEEN 0 AND {_LARGEST}",
            name=op.f("ck_live_trials_timings"),
        ),
        sa.CheckConstraint("served = (trial_id = request_id)", name=op.f("ck_live_trials_served")),
    ]


def _feedback() -> None:
    op.create_table(
        "live_scores",
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unscored", sa.String(), nullable=True),
        sa.Column("scorer", sa.String(), nullable=False),
        sa.Column("n_calls", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("opinions", sa.JSON(), nullable=True),
        sa.CheckConstraint(f"value BETWEEN -{_LARGEST} AND {_LARGEST}", name=op.f("ck_live_scores_finite")),
        sa.PrimaryKeyConstraint("trial", "metric", name=op.f("pk_live_scores")),
        sa.CheckConstraint(f"cost_usd BETWEEN 0 AND {_LARGEST}", name=op.f("ck_live_scores_cost")),
        sa.CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name=op.f("ck_live_scores_value_or_reason")),
        sa.ForeignKeyConstraint(["trial"], ["live_trials.id"], name=op.f("fk_live_scores_trial")),
        sa.CheckConstraint("unscored <> ''", name=op.f("ck_live_scores_reason")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_live_scores_by_metric", "live_scores", ["live_id", "metric", "trial", "value", "unscored"])
    op.create_index(
        "ix_live_scores_judged",
        "live_scores",
        ["live_id", "at", "n_calls", "cost_usd"],
        sqlite_where=sa.text("n_calls > 0"),
        postgresql_where=sa.text("n_calls > 0"),
    )
    op.create_table(
        "live_votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("thumb", sa.String(), nullable=False),
        sa.Column("passage_id", sa.String(), nullable=True),
        sa.Column("team", sa.String(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.UniqueConstraint("trial", "key", name=op.f("uq_live_votes_trial_key")),
        sa.CheckConstraint("team IN ('control', 'treatment', 'both')", name=op.f("ck_live_votes_team")),
        sa.ForeignKeyConstraint(["trial"], ["live_trials.id"], name=op.f("fk_live_votes_trial")),
        sa.CheckConstraint("thumb IN ('up', 'down', 'withdrawn')", name=op.f("ck_live_votes_thumb")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_votes")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "live_signals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("passage_id", sa.String(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trial"], ["live_trials.id"], name=op.f("fk_live_signals_trial")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_signals")),
        sa.UniqueConstraint("trial", "key", name=op.f("uq_live_signals_trial_key")),
        sa.CheckConstraint("signal IN ('copied', 'rephrased', 'citation_clicked')", name=op.f("ck_live_signals_signal")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop them, with what they hold."""
    for name in (
        "live_signals",
        "live_votes",
        "live_scores",
        "live_trials",
        "api_keys",
        "audit_log",
        "erasures",
        "live_outages",
        "traffic_states",
        "live_experiments",
    ):
        op.drop_table(name)
