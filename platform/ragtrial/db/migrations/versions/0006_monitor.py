"""The drift monitor: references, looks, alerts.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "monitor_references",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("first_trial", sa.Integer(), nullable=True),
        sa.Column("last_trial", sa.Integer(), nullable=True),
        sa.Column("digests", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('queries', 'corpus')", name=op.f("ck_monitor_references_kind")),
        sa.CheckConstraint(
            "(kind = 'queries') = (first_trial IS NOT NULL AND last_trial IS NOT NULL)", name=op.f("ck_monitor_references_trials")
        ),
        sa.CheckConstraint("(kind = 'corpus') = (digests IS NOT NULL)", name=op.f("ck_monitor_references_digests")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitor_references")),
        sa.UniqueConstraint("experiment", "kind", "name", name=op.f("uq_monitor_references_experiment_kind_name")),
    )
    op.create_table(
        "monitor_looks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitor_looks")),
        sa.UniqueConstraint("experiment", "series", "number", name=op.f("uq_monitor_looks_experiment_series_number")),
    )
    op.create_index("ix_monitor_looks_newest", "monitor_looks", ["experiment", "id"])
    op.create_table(
        "monitor_alerts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("effect", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_until", sa.Double(), nullable=True),
        sa.Column("delivered_at", sa.Double(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.CheckConstraint("change IN ('raised', 'cleared')", name=op.f("ck_monitor_alerts_change")),
        sa.ForeignKeyConstraint(["look"], ["monitor_looks.id"], name=op.f("fk_monitor_alerts_look")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitor_alerts")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_monitor_alerts_waiting", "monitor_alerts", ["experiment", "delivered_at", "id"])


def downgrade() -> None:
    """Remove what `upgrade` made."""
    op.drop_table("monitor_alerts")
    op.drop_table("monitor_looks")
    op.drop_table("monitor_references")
