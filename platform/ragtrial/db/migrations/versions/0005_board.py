"""The dashboard: what is derived from the logs, preferences between two answers, curated queries, and members.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LARGEST = "1.7976931348623157e308"


def upgrade() -> None:
    """Make the tables, and let trials be found by time."""
    _derived()
    _live()
    _said()
    op.create_index("ix_live_trials_in_time", "live_trials", ["live_id", "at"])


def _derived() -> None:
    op.create_table(
        "conclusions",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.CheckConstraint("(document IS NULL) = (problem IS NOT NULL)", name=op.f("ck_conclusions_document_or_problem")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_conclusions_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_conclusions")),
    )
    op.create_table(
        "query_outcomes",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("baseline", sa.Double(), nullable=True),
        sa.Column("custom", sa.Double(), nullable=True),
        sa.Column("gain", sa.Double(), nullable=True),
        sa.Column("baseline_answer", sa.Double(), nullable=True),
        sa.Column("custom_answer", sa.Double(), nullable=True),
        sa.Column("answer_gain", sa.Double(), nullable=True),
        sa.Column("relevant", sa.Integer(), nullable=False),
        sa.Column("baseline_found", sa.Integer(), nullable=False),
        sa.Column("custom_found", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Double(), nullable=True),
        sa.Column("unjudged", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.CheckConstraint(f"answer_gain BETWEEN -{_LARGEST} AND {_LARGEST}", name=op.f("ck_query_outcomes_answer_gain")),
        sa.CheckConstraint(f"gain BETWEEN -{_LARGEST} AND {_LARGEST}", name=op.f("ck_query_outcomes_gain")),
        sa.CheckConstraint("overlap BETWEEN 0 AND 1", name=op.f("ck_query_outcomes_overlap")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_query_outcomes_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "generation", "position", name=op.f("pk_query_outcomes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_query_outcomes_by_answer_gain", "query_outcomes", ["evaluation_id", "generation", "answer_gain", "position"])
    op.create_index("ix_query_outcomes_by_gain", "query_outcomes", ["evaluation_id", "generation", "gain", "position"])
    op.create_table(
        "labelling_queues",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_labelling_queues_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "generation", "metric", name=op.f("pk_labelling_queues")),
    )
    op.create_table(
        "embedding_maps",
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_embedding_maps_evaluation_id")),
        sa.PrimaryKeyConstraint("evaluation_id", "arm", name=op.f("pk_embedding_maps")),
    )


def _live() -> None:
    op.create_table(
        "live_buckets",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("served", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("abstained", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("timed", sa.Integer(), nullable=False),
        sa.Column("waited_ms", sa.Double(), nullable=False),
        sa.Column("embed_ms", sa.Double(), nullable=False),
        sa.Column("search_ms", sa.Double(), nullable=False),
        sa.Column("generate_ms", sa.Double(), nullable=False),
        sa.Column("priced", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("counted_tokens", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("down", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_buckets_live_id")),
        sa.PrimaryKeyConstraint("live_id", "number", "arm", "reason", name=op.f("pk_live_buckets")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "live_snapshots",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("took_s", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("beside", sa.String(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.CheckConstraint("(document IS NULL) = (problem IS NOT NULL)", name=op.f("ck_live_snapshots_document_or_problem")),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_snapshots_live_id")),
        sa.PrimaryKeyConstraint("live_id", name=op.f("pk_live_snapshots")),
    )
    op.create_table(
        "roll_up_marks",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("vote", sa.Integer(), nullable=False),
        sa.Column("erasure", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_roll_up_marks_live_id")),
        sa.PrimaryKeyConstraint("live_id", name=op.f("pk_roll_up_marks")),
    )


def _said() -> None:
    op.create_table(
        "live_comparisons",
        sa.Column("comparison_id", sa.String(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("left_trial", sa.Integer(), nullable=False),
        sa.Column("right_trial", sa.Integer(), nullable=False),
        sa.Column("left_arm", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["left_trial"], ["live_trials.id"], name=op.f("fk_live_comparisons_left_trial")),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_comparisons_live_id")),
        sa.ForeignKeyConstraint(["right_trial"], ["live_trials.id"], name=op.f("fk_live_comparisons_right_trial")),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_live_comparisons")),
        sa.UniqueConstraint("live_id", "caller", "idempotency_key", name=op.f("uq_live_comparisons_live_id_caller_idempotency_key")),
    )
    op.create_index(op.f("ix_live_comparisons_live_id"), "live_comparisons", ["live_id"])
    op.create_index(op.f("ix_live_comparisons_unit"), "live_comparisons", ["unit"])
    op.create_table(
        "live_preferences",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("comparison_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("choice", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("choice IN ('left', 'right', 'both', 'neither', 'withdrawn')", name=op.f("ck_live_preferences_choice")),
        sa.ForeignKeyConstraint(["comparison_id"], ["live_comparisons.comparison_id"], name=op.f("fk_live_preferences_comparison_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_preferences")),
        sa.UniqueConstraint("comparison_id", "key", name=op.f("uq_live_preferences_comparison_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "curations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("query_text", sa.String(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=True),
        sa.Column("passage_id", sa.String(), nullable=False),
        sa.Column("passage_text", sa.String(), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=True),
        sa.Column("evaluation_id", sa.String(), nullable=True),
        sa.Column("trial_id", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("takes_back", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(kind = 'judgment') = (grade IS NOT NULL)", name=op.f("ck_curations_grade")),
        sa.CheckConstraint("kind IN ('judgment', 'pair', 'hard negative')", name=op.f("ck_curations_kind")),
        sa.CheckConstraint("(evaluation_id IS NULL) <> (trial_id IS NULL)", name=op.f("ck_curations_provenance")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.evaluation_id"], name=op.f("fk_curations_evaluation_id")),
        sa.ForeignKeyConstraint(["takes_back"], ["curations.id"], name=op.f("fk_curations_takes_back")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_curations")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_curations_experiment", "curations", ["experiment", "id"])
    op.create_table(
        "members",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'tester', 'operator', 'admin')", name=op.f("ck_members_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_members_name", "members", ["name", "id"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("ix_live_trials_in_time", "live_trials")
    for table in (
        "live_preferences",
        "live_comparisons",
        "curations",
        "members",
        "roll_up_marks",
        "live_snapshots",
        "live_buckets",
        "embedding_maps",
        "labelling_queues",
        "query_outcomes",
        "conclusions",
    ):
        op.drop_table(table)
