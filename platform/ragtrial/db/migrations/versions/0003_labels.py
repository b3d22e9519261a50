"""What people say of judged answers.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_LARGEST = "1.7976931348623157e308"


def upgrade() -> None:
    """Add the table of labels."""
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("repetition", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("scorer", sa.String(), nullable=False),
        sa.Column("selection", sa.String(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("labeller", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"value BETWEEN -{_LARGEST} AND {_LARGEST}", name=op.f("ck_labels_finite")),
        sa.CheckConstraint("selection IN ('random', 'volunteered')", name=op.f("ck_labels_selection")),
        sa.CheckConstraint("probability > 0 AND probability <= 1", name=op.f("ck_labels_probability")),
        sa.ForeignKeyConstraint(
            ["evaluation_id", "arm", "query_id", "repetition"],
            ["trials.evaluation_id", "trials.arm", "trials.query_id", "trials.repetition"],
            name=op.f("fk_labels_evaluation_id_arm_query_id_repetition"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_evaluation_id"), "labels", ["evaluation_id"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("labels")
