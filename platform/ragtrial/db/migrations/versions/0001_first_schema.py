"""The first schema.

Revision: 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _experiments()
    _evaluations()
    _queries()
    _trials()
    _results()


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("plan_digest", sa.String(), nullable=False),
        sa.Column("hypothesis", sa.String(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", "plan_digest", name=op.f("uq_experiments_name_plan_digest")),
    )
    op.create_table(
        "passages",
        sa.Column("corpus_fingerprint", sa.String(), nullable=False),
        sa.Column("passage_id", sa.String(), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("start_offset", sa.Integer(), nullable=False),
        sa.Column("end_offset", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("corpus_fingerprint", "passage_id", name=op.f("pk_passages")),
    )
    op.create_table(
        "arms",
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_arms_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "name", name=op.f("pk_arms")),
    )


def _evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("config_digest", sa.String(), nullable=False),
        sa.Column("corpus_fingerprint", sa.String(), nullable=False),
        sa.Column("gold_name", sa.String(), nullable=False),
        sa.Column("gold_fingerprint", sa.String(), nullable=False),
        sa.Column("n_queries", sa.Integer(), nullable=False),
        sa.Column("n_trials_planned", sa.Integer(), nullable=False),
        sa.Column("setup", sa.JSON(), nullable=False),
        sa.Column("arms", sa.JSON(), nullable=False),
        sa.Column("parity", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_evaluations_experiment_id")),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_evaluations")),
    )
    op.create_index(op.f("ix_evaluations_config_digest"), "evaluations", ["config_digest"], unique=False)
    op.create_index(op.f("ix_evaluations_experiment_id"), "evaluations", ["experiment_id"], unique=False)
    op.create_table(
        "evaluation_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind IN ('started', 'resumed', 'finished')", name=op.f("ck_evaluation_events_kind")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_evaluation_events_evaluation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_events")),
    )
    op.create_index(op.f("ix_evaluation_events_evaluation_id"), "evaluation_events", ["evaluation_id"], unique=False)


def _queries() -> None:
    op.create_table(
        "evaluation_queries",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_evaluation_queries_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "position", name=op.f("pk_evaluation_queries")),
        sa.UniqueConstraint("evaluation_id", "query_id", name=op.f("uq_evaluation_queries_evaluation_id_query_id")),
    )
    op.create_table(
        "judgments",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("passage_id", sa.String(), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.CheckConstraint("grade >= 0", name=op.f("ck_judgments_grade")),
        sa.ForeignKeyConstraint(
            ["evaluation_id", "query_id"],
            ["evaluation_queries.evaluation_id", "evaluation_queries.query_id"],
            name=op.f("fk_judgments_evaluation_id_query_id"),
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "query_id", "passage_id", name=op.f("pk_judgments")),
        sqlite_with_rowid=False,
    )


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("repetition", sa.Integer(), nullable=False),
        sa.Column("n_hits", sa.Integer(), nullable=True),
        sa.Column("answer_text", sa.String(), nullable=True),
        sa.Column("finish_reason", sa.String(), nullable=True),
        sa.Column("generator", sa.String(), nullable=True),
        sa.Column("cited", sa.JSON(), nullable=True),
        sa.Column("answer_shared", sa.Boolean(), nullable=False),
        sa.Column("failure_stage", sa.String(), nullable=True),
        sa.Column("failure_kind", sa.String(), nullable=True),
        sa.Column("failure_message", sa.String(), nullable=True),
        sa.Column("embed_ms", sa.Double(), nullable=True),
        sa.Column("search_ms", sa.Double(), nullable=True),
        sa.Column("generate_ms", sa.Double(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(answer_text IS NULL) = (finish_reason IS NULL)", name=op.f("ck_trials_answer")),
        sa.CheckConstraint("answer_text IS NULL OR failure_stage IS NULL", name=op.f("ck_trials_answer_or_failure")),
        sa.CheckConstraint("n_hits IS NOT NULL OR failure_stage IS NOT NULL", name=op.f("ck_trials_ranking_or_failure")),
        sa.ForeignKeyConstraint(
            ["evaluation_id", "query_id"],
            ["evaluation_queries.evaluation_id", "evaluation_queries.query_id"],
            name=op.f("fk_trials_evaluation_id_query_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("evaluation_id", "arm", "query_id", "repetition", name=op.f("uq_trials_evaluation_id_arm_query_id_repetition")),
    )


def _results() -> None:
    op.create_table(
        "hits",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("passage_id", sa.String(), nullable=False),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_hits_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "rank", name=op.f("pk_hits")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "scores",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unscored", sa.String(), nullable=True),
        sa.Column("scorer", sa.String(), nullable=False),
        sa.CheckConstraint("unscored <> ''", name=op.f("ck_scores_reason")),
        sa.CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name=op.f("ck_scores_value_or_reason")),
        sa.CheckConstraint("value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308", name=op.f("ck_scores_finite")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_scores_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "metric", name=op.f("pk_scores")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them, with what they hold."""
    op.drop_table("scores")
    op.drop_table("hits")
    op.drop_table("trials")
    op.drop_table("judgments")
    op.drop_table("evaluation_queries")
    op.drop_index(op.f("ix_evaluation_events_evaluation_id"), table_name="evaluation_events")
    op.drop_table("evaluation_events")
    op.drop_index(op.f("ix_evaluations_experiment_id"), table_name="evaluations")
    op.drop_index(op.f("ix_evaluations_config_digest"), table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_table("arms")
    op.drop_table("passages")
    op.drop_table("experiments")
