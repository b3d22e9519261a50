"""What retention has removed from the live log, and from when on it is kept.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "live_retentions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("kept_from", sa.Double(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("scores", sa.Integer(), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("signals", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_retentions_live_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_retentions")),
    )
    op.create_index("ix_live_retentions_live_id", "live_retentions", ["live_id"])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("live_retentions")
