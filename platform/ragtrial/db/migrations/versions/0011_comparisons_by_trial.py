"""Comparisons side by side are found by their trials: whoever deletes a trial has the database look whether one still refers to it.

Revision: 0011, after 0010.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SIDES = ("left_trial", "right_trial")


def upgrade() -> None:
    """Make the indexes: of the few comparisons, in a moment."""
    for side in _SIDES:
        op.create_index(f"ix_live_comparisons_{side}", "live_comparisons", [side])


def downgrade() -> None:
    """Remove them."""
    for side in _SIDES:
        op.drop_index(f"ix_live_comparisons_{side}", table_name="live_comparisons")
