"""What LLM judges said, and what LLM answers took.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LARGEST = "1.7976931348623157e308"


def upgrade() -> None:
    """Add the table of opinions, and two columns to trials."""
    op.add_column("trials", sa.Column("cached_tokens", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("answer_ms", sa.Double(), nullable=True))
    op.create_table(
        "opinions",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("repetition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unscored", sa.String(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("rationale", sa.String(), nullable=False),
        sa.Column("n_calls", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.CheckConstraint("(value IS NULL) = (unscored IS NOT NULL)", name=op.f("ck_opinions_value_or_reason")),
        sa.CheckConstraint(f"value BETWEEN -{_LARGEST} AND {_LARGEST}", name=op.f("ck_opinions_finite")),
        sa.CheckConstraint("unscored <> ''", name=op.f("ck_opinions_reason")),
        sa.ForeignKeyConstraint(["trial_id", "metric"], ["scores.trial_id", "scores.metric"], name=op.f("fk_opinions_trial_id_metric")),
        sa.PrimaryKeyConstraint("trial_id", "metric", "repetition", name=op.f("pk_opinions")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("opinions")
    op.drop_column("trials", "answer_ms")
    op.drop_column("trials", "cached_tokens")
