"""Live sums by unit, and triggers that tell of which units something has changed.

Revision: 0007, after 0006.
"""

# ruff: noqa: E501  # statements as they are run
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SQLITE = (
    "CREATE TRIGGER live_trials_insert_told AFTER INSERT ON live_trials WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = NEW.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT NEW.live_id, NEW.unit WHERE NEW.reason = 'split' AND NEW.unit IS NOT NULL; END",
    "CREATE TRIGGER live_trials_delete_told AFTER DELETE ON live_trials WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = OLD.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT OLD.live_id, OLD.unit WHERE OLD.reason = 'split' AND OLD.unit IS NOT NULL; END",
    "CREATE TRIGGER live_scores_insert_told AFTER INSERT ON live_scores WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = NEW.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = NEW.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_scores_update_told AFTER UPDATE ON live_scores WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = NEW.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = NEW.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_scores_delete_told AFTER DELETE ON live_scores WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = OLD.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = OLD.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_votes_insert_told AFTER INSERT ON live_votes WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = NEW.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = NEW.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_votes_delete_told AFTER DELETE ON live_votes WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = OLD.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = OLD.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_signals_insert_told AFTER INSERT ON live_signals WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = NEW.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = NEW.trial AND reason = 'split' AND unit IS NOT NULL; END",
    "CREATE TRIGGER live_signals_delete_told AFTER DELETE ON live_signals WHEN EXISTS (SELECT 1 FROM live_unit_marks WHERE live_id = OLD.live_id) BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT live_id, unit FROM live_trials WHERE id = OLD.trial AND reason = 'split' AND unit IS NOT NULL; END",
)
_POSTGRESQL = (
    "CREATE FUNCTION live_trials_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT DISTINCT t.live_id, t.unit FROM told t JOIN live_unit_marks m ON m.live_id = t.live_id WHERE t.reason = 'split' AND t.unit IS NOT NULL; RETURN NULL; END $$",
    "CREATE TRIGGER live_trials_insert_told AFTER INSERT ON live_trials REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_trials_tell()",
    "CREATE TRIGGER live_trials_delete_told AFTER DELETE ON live_trials REFERENCING OLD TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_trials_tell()",
    "CREATE FUNCTION live_scores_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT DISTINCT t.live_id, t.unit FROM told n JOIN live_trials t ON t.id = n.trial JOIN live_unit_marks m ON m.live_id = t.live_id WHERE t.reason = 'split' AND t.unit IS NOT NULL; RETURN NULL; END $$",
    "CREATE TRIGGER live_scores_insert_told AFTER INSERT ON live_scores REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_scores_tell()",
    "CREATE TRIGGER live_scores_update_told AFTER UPDATE ON live_scores REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_scores_tell()",
    "CREATE TRIGGER live_scores_delete_told AFTER DELETE ON live_scores REFERENCING OLD TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_scores_tell()",
    "CREATE FUNCTION live_votes_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT DISTINCT t.live_id, t.unit FROM told n JOIN live_trials t ON t.id = n.trial JOIN live_unit_marks m ON m.live_id = t.live_id WHERE t.reason = 'split' AND t.unit IS NOT NULL; RETURN NULL; END $$",
    "CREATE TRIGGER live_votes_insert_told AFTER INSERT ON live_votes REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_votes_tell()",
    "CREATE TRIGGER live_votes_delete_told AFTER DELETE ON live_votes REFERENCING OLD TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_votes_tell()",
    "CREATE FUNCTION live_signals_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO live_unit_changes (live_id, unit) SELECT DISTINCT t.live_id, t.unit FROM told n JOIN live_trials t ON t.id = n.trial JOIN live_unit_marks m ON m.live_id = t.live_id WHERE t.reason = 'split' AND t.unit IS NOT NULL; RETURN NULL; END $$",
    "CREATE TRIGGER live_signals_insert_told AFTER INSERT ON live_signals REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_signals_tell()",
    "CREATE TRIGGER live_signals_delete_told AFTER DELETE ON live_signals REFERENCING OLD TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION live_signals_tell()",
)
_TOLD = ("live_trials", "live_scores", "live_votes", "live_signals")


def upgrade() -> None:
    """Make the tables and triggers."""
    op.create_table(
        "live_unit_marks",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("latest_at", sa.Double(), nullable=True),
        sa.Column("backwards", sa.Integer(), nullable=False),
        sa.Column("erasure", sa.Integer(), nullable=False),
        sa.Column("reached_at", sa.Double(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["live_id"], ["live_experiments.id"], name=op.f("fk_live_unit_marks_live_id")),
        sa.PrimaryKeyConstraint("live_id", name=op.f("pk_live_unit_marks")),
    )
    op.create_table(
        "live_unit_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("live_id", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_unit_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_live_unit_changes_in_order", "live_unit_changes", ["live_id", "id"])
    op.create_table(
        "live_units",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("both", sa.Boolean(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("served", sa.Integer(), nullable=False),
        sa.Column("solicited", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("abstained", sa.Integer(), nullable=False),
        sa.Column("waited_ms", sa.Double(), nullable=False),
        sa.Column("embed_ms", sa.Double(), nullable=False),
        sa.Column("embed_n", sa.Integer(), nullable=False),
        sa.Column("search_ms", sa.Double(), nullable=False),
        sa.Column("search_n", sa.Integer(), nullable=False),
        sa.Column("generate_ms", sa.Double(), nullable=False),
        sa.Column("generate_n", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("cost_n", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Double(), nullable=False),
        sa.Column("prompt_n", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Double(), nullable=False),
        sa.Column("completion_n", sa.Integer(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("down", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("up_solicited", sa.Integer(), nullable=False),
        sa.Column("down_solicited", sa.Integer(), nullable=False),
        sa.Column("withdrawn_solicited", sa.Integer(), nullable=False),
        sa.Column("late_solicited", sa.Integer(), nullable=False),
        sa.Column("copied", sa.Integer(), nullable=False),
        sa.Column("rephrased", sa.Integer(), nullable=False),
        sa.Column("citation_clicked", sa.Integer(), nullable=False),
        sa.Column("later", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("live_id", "unit", "arm", name=op.f("pk_live_units")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_live_units_first", "live_units", ["live_id", "both", "first_at"])
    op.create_table(
        "live_unit_scores",
        sa.Column("live_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("both", sa.Boolean(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("reasons", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("live_id", "phase", "metric", "unit", "arm", name=op.f("pk_live_unit_scores")),
        sqlite_with_rowid=False,
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Remove what `upgrade` made."""
    bind = op.get_bind()
    for table in _TOLD:
        for what in ("insert", "update", "delete"):
            if what == "update" and table != "live_scores":
                continue
            bind.exec_driver_sql(f"DROP TRIGGER {table}_{what}_told" + ("" if bind.dialect.name == "sqlite" else f" ON {table}"))
        if bind.dialect.name == "postgresql":
            bind.exec_driver_sql(f"DROP FUNCTION {table}_tell()")
    for table in ("live_unit_scores", "live_units", "live_unit_changes", "live_unit_marks"):
        op.drop_table(table)
