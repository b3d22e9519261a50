"""The schema's revisions: which one a database has, whether it is the one that this version reads, and bringing it up or down."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, select, table
from sqlalchemy import column as sql_column

from ragtrial.db.engine import file_exists, open_engine, parse_url, shown, transaction, translated
from ragtrial.errors import InputError, StoreError

logger = logging.getLogger("ragtrial.db")

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
"""The schemas that this version knows, oldest first; the last one is current."""
HEAD = REVISIONS[-1]
_PARTITIONED = "0010"  # the schema that writes the tables of the live log anew
VERSION_TABLE = "ragtrial_schema"


def current_revision(url: str) -> str | None:
    """The schema's revision; None where there is no database yet, or an empty one. Changes nothing.

    Raises:
        StoreError: It can't be read, holds tables of another program, or was made by a newer ragtrial.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not file_exists(Path(parsed.database or "")):
        return None
    engine = open_engine(url, read_only=True)
    try:
        with transaction(engine, shown(parsed)) as connection:
            return _revision(connection, shown(parsed))
    finally:
        engine.dispose()


def _revision(connection: Connection, name: str) -> str | None:
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        if tables:
            foreign = ", ".join(sorted(tables)[:5])
            what = f"database {name!r} holds tables of another program ({foreign})"
            raise StoreError(f"{what}: give ragtrial a database of its own (stores.sql)")
        return None
    revision = connection.execute(select(table(VERSION_TABLE, sql_column("version_num")))).scalar()
    if revision is not None and revision not in REVISIONS:
        what = f"database {name!r} has schema {revision!r}, but this ragtrial knows none after {HEAD!r}"
        raise StoreError(f"{what}: upgrade ragtrial to the version that made it")
    return revision


def require_head(engine: Engine, name: str) -> None:
    """Make sure that the schema is the one that this version reads.

    Raises:
        StoreError: It is older, newer, or not there.
    """
    with transaction(engine, name) as connection:
        revision = _revision(connection, name)
    if revision is None:
        raise StoreError(f"database {name!r} holds no evaluations yet: run an evaluation first, or correct the path (stores.sql)")
    if revision != HEAD:
        raise StoreError(
            f"database {name!r} has schema {revision!r}, but this ragtrial reads {HEAD!r}: run `ragtrial db upgrade EXPERIMENT.yaml`"
        )


def upgrade(url: str) -> None:
    """Bring the schema to `HEAD`, in one transaction; makes the database where it is a file that is not there.

    Raises:
        StoreError: As `current_revision`, or the database refused; nothing was changed then.
    """
    before = current_revision(url)
    if before == HEAD:
        return  # Alembic is slow to import

    def run(config: "Config") -> None:
        from alembic import command

        command.upgrade(config, "head")

    _migrate(url, run)
    if before is not None and before < _PARTITIONED and parse_url(url).get_backend_name() == "postgresql":
        _vacuum(url)


def _vacuum(url: str) -> None:
    """After tables were written anew: only a vacuumed one is read by its index alone. Where it fails, autovacuum does it later."""
    engine = open_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        with translated(shown(parse_url(url))), engine.connect() as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE) live_trials, live_scores, live_votes, live_signals, live_trial_keys")
    except StoreError as error:
        logger.warning("the schema was upgraded, but the log was not vacuumed, so that it is read more slowly: %s", error)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to an earlier revision, or to `base`: the data of tables that go are lost.

    Raises:
        InputError: There is no such revision.
        StoreError: As `upgrade`.
    """
    if revision not in (*REVISIONS, "base"):
        raise InputError(f"there is no schema {revision!r}: give one of base, {', '.join(REVISIONS)}")
    current_revision(url)

    def run(config: "Config") -> None:
        from alembic import command

        command.downgrade(config, revision)

    _migrate(url, run)


def _migrate(url: str, run: "Callable[[Config], None]") -> None:
    from alembic.config import Config

    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", "ragtrial:db/migrations")
    try:
        # Workers that start together all upgrade: each waits for the one that does, however many rows it writes anew.
        with transaction(engine, shown(parse_url(url)), turn="alone", patient=True) as connection:
            config.attributes["connection"] = connection
            run(config)
    finally:
        engine.dispose()
