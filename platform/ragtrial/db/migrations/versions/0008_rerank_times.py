"""How long reranking took, beside the search that it is a part of.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: NULL where nothing was reranked, as in all earlier rows."""
    for table in ("trials", "live_trials"):
        op.add_column(table, sa.Column("rerank_ms", sa.Double(), nullable=True))


def downgrade() -> None:
    """Remove them."""
    for table in ("live_trials", "trials"):
        op.drop_column(table, "rerank_ms")
