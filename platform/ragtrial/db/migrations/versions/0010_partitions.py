"""PostgreSQL: the live log in partitions by ranges of trial ids, its unique keys in a table of their own, and ids of 64 bits.

What was logged becomes the first partition of each table; no row is moved. SQLite stays as it is.

Revision: 0010, after 0009.
"""

# ruff: noqa: S608  # names of our own
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from ragtrial.errors import StoreError

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BLOCK = 10_000_000
_PARTITIONED = {"live_trials": "id", "live_scores": "trial", "live_votes": "trial", "live_signals": "trial"}
_PRIMARY = {"live_trials": "id", "live_scores": "trial, metric", "live_votes": "id, trial", "live_signals": "id, trial"}
_PRIMARY_BEFORE = _PRIMARY | {"live_votes": "id", "live_signals": "id"}
_UNIQUE = {"live_votes": "trial, key", "live_signals": "trial, key"}
_INDEXES = {
    "ix_live_trials_in_order": "live_trials (live_id, id)",
    "ix_live_trials_in_time": "live_trials (live_id, at)",
    "ix_live_trials_by_unit": (
        "live_trials (live_id, reason, unit, request_id, arm, served, version, at, solicited, waited_ms, embed_ms, search_ms, generate_ms, "
        "failure_stage, finish_reason, cost_usd, prompt_tokens, completion_tokens, citation_credit, id)"
    ),
    "ix_live_scores_by_metric": "live_scores (live_id, metric, trial, value, unscored)",
    "ix_live_scores_judged": "live_scores (live_id, at, n_calls, cost_usd) WHERE n_calls > 0",
}
_WIDE = {
    "live_trials": ("id",),
    "live_scores": ("trial",),
    "live_votes": ("id", "trial"),
    "live_signals": ("id", "trial"),
    "live_comparisons": ("left_trial", "right_trial"),
    "live_unit_changes": ("id",),
    "live_unit_marks": ("newest",),
    "live_retentions": ("trials", "scores", "votes", "signals"),
    "roll_up_marks": ("trial", "vote"),
    "monitor_references": ("first_trial", "last_trial"),
}
_WITH_SEQUENCE = ("live_trials", "live_votes", "live_signals")
_TOLD = {"live_trials": ("INSERT", "DELETE"), "live_scores": ("INSERT", "UPDATE", "DELETE")} | dict.fromkeys(
    ("live_votes", "live_signals"), ("INSERT", "DELETE")
)
_KEEP = (
    "CREATE FUNCTION live_trials_keep_keys() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "INSERT INTO live_trial_keys (trial_id, trial, live_id, caller, idempotency_key, served) "
    "SELECT trial_id, id, live_id, caller, idempotency_key, served FROM told; RETURN NULL; END $$"
)
_DROP = (
    "CREATE FUNCTION live_trials_drop_keys() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "DELETE FROM live_trial_keys k USING told t WHERE k.trial_id = t.trial_id; RETURN NULL; END $$"
)
_ON_INSERT = (
    "CREATE TRIGGER live_trials_insert_keys AFTER INSERT ON live_trials REFERENCING NEW TABLE AS told "
    "FOR EACH STATEMENT EXECUTE FUNCTION live_trials_keep_keys()"
)
_ON_DELETE = (
    "CREATE TRIGGER live_trials_delete_keys AFTER DELETE ON live_trials REFERENCING OLD TABLE AS told "
    "FOR EACH STATEMENT EXECUTE FUNCTION live_trials_drop_keys()"
)
_Run = Callable[[str], object]


def upgrade() -> None:
    """Make the tables that are there the first partitions of new ones."""
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    run = bind.exec_driver_sql
    _begin(run)
    last = bind.execute(sa.text("SELECT last_value FROM live_trials_id_seq")).scalar_one()
    end = (last // _BLOCK + 1) * _BLOCK
    _make_keys(run)
    for table, columns in _WIDE.items():
        changes = [f"ALTER COLUMN {column} TYPE BIGINT" for column in columns]
        if table in _PARTITIONED:  # seen to be so while the rows are written anew: attaching then looks at none of them
            changes.append(f"ADD CONSTRAINT {table}_0_range CHECK ({_PARTITIONED[table]} < {end})")
        if table in _UNIQUE:
            changes += [f"DROP CONSTRAINT pk_{table}", f"ADD CONSTRAINT {table}_0_pk PRIMARY KEY ({_PRIMARY[table]})"]
        run(f"ALTER TABLE {table} {', '.join(changes)}")
    run("ALTER SEQUENCE live_unit_changes_id_seq AS BIGINT")
    for table, column in _PARTITIONED.items():
        _make_parent(run, table, column)
        run(f"ALTER TABLE {table} ATTACH PARTITION {table}_0 FOR VALUES FROM (MINVALUE) TO ({end})")
        run(f"ALTER TABLE {table}_0 DROP CONSTRAINT {table}_0_range")
    _refer(run, "0")
    for number in (end // _BLOCK, end // _BLOCK + 1):
        _make_partition(run, str(number), f"FOR VALUES FROM ({number * _BLOCK}) TO ({(number + 1) * _BLOCK})")
    _make_partition(run, "default", "DEFAULT")
    _refer_comparisons(run)
    _tell(run)
    for statement in (_KEEP, _DROP, _ON_INSERT, _ON_DELETE):
        run(statement)
    for table in (*_PARTITIONED, "live_trial_keys"):
        run(f"ANALYZE {table}")


def _begin(run: _Run) -> None:
    """Nobody writes or reads meanwhile; what stands in the way of other columns goes.

    The small tables are locked first, as readers do: who has read marks and waits for trials would else wait for us, and we for it.
    """
    small = [table for table in _WIDE if table not in _PARTITIONED]
    run(f"LOCK TABLE {', '.join((*small, *_PARTITIONED))} IN ACCESS EXCLUSIVE MODE")
    run("SELECT set_config('maintenance_work_mem', '256MB', true)")
    for table, events in _TOLD.items():
        for what in events:
            run(f"DROP TRIGGER {table}_{what.lower()}_told ON {table}")
    for side in ("left", "right"):
        run(f"ALTER TABLE live_comparisons DROP CONSTRAINT fk_live_comparisons_{side}_trial")
    for table in ("live_scores", "live_votes", "live_signals"):
        run(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS fk_{table}_trial")


def _make_keys(run: _Run) -> None:
    run(
        "CREATE TABLE live_trial_keys (trial_id VARCHAR NOT NULL, trial BIGINT NOT NULL, live_id INTEGER NOT NULL, caller VARCHAR NOT NULL, "
        "idempotency_key VARCHAR, served BOOLEAN NOT NULL)"
    )
    run("INSERT INTO live_trial_keys SELECT trial_id, id, live_id, caller, idempotency_key, served FROM live_trials ORDER BY id")
    run(
        "ALTER TABLE live_trials DROP CONSTRAINT uq_live_trials_trial_id, DROP CONSTRAINT uq_live_trials_live_id_caller_idempotency_key_served"
    )
    run("ALTER TABLE live_trial_keys ADD CONSTRAINT uq_live_trial_keys_trial_id PRIMARY KEY (trial_id)")
    run(
        "CREATE UNIQUE INDEX uq_live_trial_keys_request ON live_trial_keys (live_id, caller, idempotency_key, served) "
        "WHERE idempotency_key IS NOT NULL"
    )
    _hand_on(run, "live_trials", "live_trial_keys")
    run("CREATE INDEX ix_live_trial_keys_trial ON live_trial_keys USING brin (trial) WITH (autosummarize = on)")


def _make_parent(run: _Run, table: str, column: str) -> None:
    """The table becomes `TABLE_0`, with its indexes; a new one in its name takes over its columns, checks and sequence."""
    run(f"ALTER TABLE {table} RENAME TO {table}_0")
    if table not in _UNIQUE:
        run(f"ALTER INDEX pk_{table} RENAME TO {table}_0_pk")
    else:
        run(f"ALTER INDEX uq_{table}_trial_key RENAME TO {table}_0_trial_key")
    mine = {name: made for name, made in _INDEXES.items() if made.startswith(f"{table} ")}
    for name in mine:
        run(f"ALTER INDEX {name} RENAME TO {table}_0_{name.removeprefix(f'ix_{table}_')}")
    run(f"CREATE TABLE {table} (LIKE {table}_0 INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) PARTITION BY RANGE ({column})")
    run(f"ALTER TABLE {table} DROP CONSTRAINT {table}_0_range")
    _constrain(run, table, _PRIMARY[table])
    _hand_on(run, f"{table}_0", table)
    if table in _WITH_SEQUENCE:
        run(f"ALTER SEQUENCE {table}_id_seq AS BIGINT OWNED BY {table}.id")


def _hand_on(run: _Run, old: str, new: str) -> None:
    """The owner of a table, and what others may do with it, hold for the new one as well."""
    run(
        "DO $$ DECLARE one record; BEGIN "
        f"EXECUTE format('ALTER TABLE {new} OWNER TO %%I', (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = '{old}'::regclass)); "
        "FOR one IN SELECT a.privilege_type AS what, a.is_grantable AS on_, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
        "quote_ident(pg_get_userbyid(a.grantee)) END AS who FROM pg_class c, aclexplode(c.relacl) a "
        f"WHERE c.oid = '{old}'::regclass AND a.grantee <> c.relowner LOOP "
        f"EXECUTE format('GRANT %%s ON {new} TO %%s%%s', one.what, one.who, CASE WHEN one.on_ THEN ' WITH GRANT OPTION' ELSE '' END); "
        "END LOOP; END $$"
    )


def _constrain(run: _Run, table: str, primary: str) -> None:
    """The keys and indexes that the models name."""
    run(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({primary})")
    if table in _UNIQUE:
        run(f"ALTER TABLE {table} ADD CONSTRAINT uq_{table}_trial_key UNIQUE ({_UNIQUE[table]})")
    if table == "live_trials":
        run("ALTER TABLE live_trials ADD CONSTRAINT fk_live_trials_live_id FOREIGN KEY (live_id) REFERENCES live_experiments (id)")
    for name, made in _INDEXES.items():
        if made.startswith(f"{table} "):
            run(f"CREATE INDEX {name} ON {made}")


def _make_partition(run: _Run, name: str, bounds: str) -> None:
    for table in _PARTITIONED:
        run(f"CREATE TABLE {table}_{name} (LIKE {table} INCLUDING ALL)")
    _refer(run, name)
    for table in _PARTITIONED:
        run(f"ALTER TABLE {table} ATTACH PARTITION {table}_{name} {bounds}")


def _refer(run: _Run, name: str) -> None:
    """What is about a trial lies in the partition of the same name: the two go together."""
    for table in ("live_scores", "live_votes", "live_signals"):
        key = f"FOREIGN KEY (trial) REFERENCES live_trials_{name} (id)"
        run(f"ALTER TABLE {table}_{name} ADD CONSTRAINT fk_{table}_trial {key}")


def _refer_comparisons(run: _Run) -> None:
    for side in ("left_trial", "right_trial"):
        run(f"ALTER TABLE live_comparisons ADD CONSTRAINT fk_live_comparisons_{side} FOREIGN KEY ({side}) REFERENCES live_trials (id)")


def _tell(run: _Run) -> None:
    for table, events in _TOLD.items():
        for what in events:
            seen = "OLD" if what == "DELETE" else "NEW"
            run(
                f"CREATE TRIGGER {table}_{what.lower()}_told AFTER {what} ON {table} REFERENCING {seen} TABLE AS told "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_tell()"
            )


def downgrade() -> None:
    """Put all partitions back into one table each.

    Raises:
        StoreError: There are ids that 32 bits don't hold.
    """
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    run = bind.exec_driver_sql
    for table in (*_WITH_SEQUENCE, "live_unit_changes"):
        if bind.execute(sa.text(f"SELECT last_value FROM {table}_id_seq")).scalar_one() >= 2**31:
            raise StoreError(f"{table} has ids that schema 0009 can't hold (32 bits): nothing was changed; stay with this version")
    _begin(run)
    run("DROP TRIGGER live_trials_insert_keys ON live_trials; DROP TRIGGER live_trials_delete_keys ON live_trials")
    run("DROP FUNCTION live_trials_keep_keys(); DROP FUNCTION live_trials_drop_keys(); DROP TABLE live_trial_keys")
    for table, column in _PARTITIONED.items():
        _make_whole(run, table, column)
    for table in reversed(_PARTITIONED):
        run(f"DROP TABLE {table}_parted")
    for table, columns in _WIDE.items():
        run(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {column} TYPE INTEGER' for column in columns)}")
    for table in (*_WITH_SEQUENCE, "live_unit_changes"):
        run(f"ALTER SEQUENCE {table}_id_seq AS INTEGER")
    for table in _PARTITIONED:
        _constrain(run, table, _PRIMARY_BEFORE[table])
    run(
        "ALTER TABLE live_trials ADD CONSTRAINT uq_live_trials_trial_id UNIQUE (trial_id), "
        "ADD CONSTRAINT uq_live_trials_live_id_caller_idempotency_key_served UNIQUE (live_id, caller, idempotency_key, served)"
    )
    for table in ("live_scores", "live_votes", "live_signals"):
        run(f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_trial FOREIGN KEY (trial) REFERENCES live_trials (id)")
    _refer_comparisons(run)
    _tell(run)


def _make_whole(run: _Run, table: str, column: str) -> None:
    """One table with the rows of all partitions, without keys and indexes."""
    run(f"ALTER TABLE {table} RENAME TO {table}_parted")
    run(f"CREATE TABLE {table} (LIKE {table}_parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)")
    run(f"INSERT INTO {table} SELECT * FROM {table}_parted ORDER BY {column}")
    _hand_on(run, f"{table}_parted", table)
    if table in _WITH_SEQUENCE:
        run(f"ALTER SEQUENCE {table}_id_seq OWNED BY {table}.id")
